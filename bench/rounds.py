"""Rounds: every measure of every peer, interleaved, one cell at a time, with word of how long it will take.

Each round measures everything of everybody once, and each begins with another peer, so that a noisy minute
falls on all.

Knows names and times. Does not know what a cell measures, nor what becomes of it.
"""

from __future__ import annotations

import importlib
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.launch import run_cell
from bench.peers import PEERS
from bench.report import Cell

LIMIT, SHORT_LIMIT = 60, 20  # seconds for one measure of one peer, unless it has a LIMIT
LONG = {"curve", "mixed", "maps", "large", "bandwidth", "cancel", "death", "dispatch", "slots", "crowd"}
FEWER = 3  # rounds of those, where everything is measured: a quarter of an hour is long enough
SHORT_TOTAL = 18  # seconds after which a short sample begins no further cell

Planned = tuple[int, str, str]
"""Round, measure and peer of a cell to come."""


def module_of(measure: str) -> Any:
    """The module of a measure."""
    return importlib.import_module(f"bench.{measure}")


def schedule(
    measures: Sequence[str], peers: Sequence[str], rounds: int, *, sparing: bool = False
) -> list[Planned]:
    """Every cell, in the order of running; sparing: fewer rounds of what takes long."""
    most = {measure: min(rounds, FEWER) if sparing and measure in LONG else rounds for measure in measures}
    cells = []
    for number in range(1, rounds + 1):
        for measure in measures:
            if number <= most[measure]:
                able = [name for name in peers if measure in PEERS[name].measures]
                turn = number % len(able) if able else 0
                cells += [(number, measure, name) for name in able[turn:] + able[:turn]]
    return cells


def run(
    planned: Sequence[Planned], *, short: bool, usual: Mapping[tuple[str, str], float] | None = None
) -> Iterator[Cell]:
    """Measure every cell, one at a time; whoever hangs is not asked again.

    Args:
        planned: what is to be measured.
        short: whether it is a sample only.
        usual: how many seconds a measure of a peer takes, as far as that is known.
    """
    until = time.monotonic() + (SHORT_TOTAL if short else math.inf)
    done: list[Cell] = []
    for number, (round_, measure, peer) in enumerate(planned, 1):
        if time.monotonic() > until:
            print(f"Out of time for a short sample: {number - 1} of {len(planned)} cells were measured.")
            return
        if any((cell.measure, cell.peer) == (measure, peer) and cell.found.hung for cell in done):
            continue  # it would hang again, and the others would have less time
        left = _left(planned[number - 1 :], {} if short else {**(usual or {}), **_took(done)})
        print(
            f"[{number}/{len(planned)}]{left} round {round_}: {measure}, {peer}", file=sys.stderr, flush=True
        )
        began = time.monotonic()
        limit = SHORT_LIMIT if short else getattr(module_of(measure), "LIMIT", LIMIT)
        found = run_cell(f"bench.{measure}", PEERS[peer], limit=limit, short=short)
        done.append(Cell(round_, measure, peer, found, time.monotonic() - began))
        yield done[-1]


def _took(done: Sequence[Cell]) -> dict[tuple[str, str], float]:
    return {(cell.measure, cell.peer): cell.seconds for cell in done}


def _left(planned: Sequence[Planned], seconds: Mapping[tuple[str, str], float]) -> str:
    """How long the rest may take, by what took as long before; nothing while most of that is guessing."""
    known = [seconds[cell[1:]] for cell in planned if cell[1:] in seconds]
    if 2 * len(known) < len(planned):
        return ""
    return f" {math.ceil(statistics.mean(known) * len(planned) / 60)} min left,"

"""Run the benchmarks: ``python bench/run.py [--only calls,boot] [--peers trio_folk,anyio] [--json FILE]``.

Rounds are interleaved: each round measures everything of everybody once, and each begins with
another peer, so that a noisy minute falls on all. The table goes to stdout, the progress to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.launch import adopt_orphans, run_cell
from bench.peers import FLOORS, PEERS
from bench.report import Cell, summary, table, with_ratios

MEASURES = (
    *("calls", "callers", "curve", "mixed", "maps", "large", "bandwidth"),
    *("boot", "births", "stall", "cancel", "death", "dispatch", "slots", "crowd"),
)
SHORT_MEASURES = ("calls", "callers", "boot", "births", "stall", "cancel", "death", "dispatch", "maps")
LIMIT, SHORT_LIMIT = 90, 20  # seconds for one measure of one peer
SHORT_TOTAL = 18  # seconds after which a short sample begins no further cell
LIBRARIES = ("trio", "trio-parallel", "anyio", "loky", "joblib", "msgpack", "numpy")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; unknown names end it with the names that are known."""
    parser = argparse.ArgumentParser(description="Measure trio_folk beside its peers and the floors.")
    parser.add_argument("--only", metavar="A,B", help=f"some of {', '.join(MEASURES)}")
    parser.add_argument("--peers", metavar="A,B", help="some of the peers; trio_folk means all its ways in")
    parser.add_argument("--rounds", type=int, help="how often each is measured: 5, or 1 with --short")
    parser.add_argument("--short", action="store_true", help="a sample in seconds, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there too")
    options = parser.parse_args(argv)
    usual = SHORT_MEASURES if options.short else MEASURES
    options.measures = options.only.split(",") if options.only else list(usual)
    asked = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := sorted({*options.measures} - {*MEASURES} | {*asked} - {*PEERS}):
        known = f"measures are {', '.join(MEASURES)}; peers are {', '.join(PEERS)}"
        parser.error(f"unknown: {', '.join(unknown)} ({known})")
    options.names = _peers(asked)
    options.rounds = options.rounds or (1 if options.short else 5)
    return options


def _peers(asked: Sequence[str]) -> list[str]:
    """The names asked for, in the order of the table; the floors come along, for the ratios need them."""
    chosen = [name for name in PEERS if name in asked or name.partition(".")[0] in asked]
    return [name for name in PEERS if name in chosen or name in FLOORS]


def schedule(measures: Sequence[str], peers: Sequence[str], rounds: int) -> list[tuple[int, str, str]]:
    """Round, measure and peer of every cell, in the order of running."""
    cells = []
    for number in range(1, rounds + 1):
        for measure in measures:
            able = [name for name in peers if measure in PEERS[name].measures]
            turn = number % len(able) if able else 0
            cells += [(number, measure, name) for name in able[turn:] + able[:turn]]
    return cells


def run(options: argparse.Namespace) -> list[Cell]:
    """Measure every cell, one at a time."""
    limit = SHORT_LIMIT if options.short else LIMIT
    until = time.monotonic() + (SHORT_TOTAL if options.short else math.inf)
    cells: list[Cell] = []
    planned = schedule(options.measures, options.names, options.rounds)
    for done, (number, measure, peer) in enumerate(planned, 1):
        if time.monotonic() > until:
            print(f"Out of time for a short sample: {done - 1} of {len(planned)} cells were measured.")
            break
        print(f"[{done}/{len(planned)}] round {number}: {measure}, {peer}", file=sys.stderr, flush=True)
        found = run_cell(f"bench.{measure}", PEERS[peer], limit=limit, short=options.short)
        cells.append(Cell(number, measure, peer, found))
    return with_ratios(cells)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": versions,
    }


def show(options: argparse.Namespace, where: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """Print where it was measured, and a table for each measure."""
    print(f"Python {where['python']}, {where['system']}, {where['cpus']} CPUs, load {where['load'][0]:.1f}")
    print(", ".join(f"{name} {version}" for name, version in where["versions"].items()))
    kind = "short samples, only to see that it runs" if options.short else "interleaved"
    print(f"Median (minimum-maximum) of {options.rounds} rounds, {kind}.")
    for measure in options.measures:
        rows = {name: found[measure][name] for name in options.names if name in found.get(measure, {})}
        if rows:
            module = importlib.import_module(f"bench.{measure}")
            print(table(f"{measure}: {module.TITLE}", module.COLUMNS, rows))


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 when a cell failed."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running cell is ended too
    adopt_orphans()
    where = machine()
    cells = run(options)
    found = summary(cells)
    show(options, where, found)
    if options.json:
        result = {"machine": where, "rounds": options.rounds, "short": options.short, "measures": found}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(any(cell.found.error is not None for cell in cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

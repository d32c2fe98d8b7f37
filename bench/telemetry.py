"""telemetry: what a call costs by who watches it, one caller, one worker, both sides on one CPU.

A run now and another tomorrow differ by more than an instrument costs. So all are measured in one process, in short
turns one after the other, and what counts is the ratio to those that nobody watches.
"""

from __future__ import annotations

import statistics
import time

import trio

from bench.interface import WATCHERS, Peer, Values
from bench.jobs import echo
from bench.pin import pin

TITLE = "round trip of a 100-byte echo, one caller, one worker, pinned to one CPU, by who watches; us"
COLUMNS = (*WATCHERS, *(f"x nobody, {kind}" for kind in WATCHERS[1:]))
PAYLOAD = b"x" * 100
TURNS, CALLS = 40, 200
SHORT_TURNS, SHORT_CALLS = 3, 50


def measure(peer: Peer, short: bool) -> Values:
    """The median of all calls of all turns; a ratio is taken inside a turn, then its median."""
    pin()
    turns, calls = (SHORT_TURNS, SHORT_CALLS) if short else (TURNS, CALLS)
    found = trio.run(_turns, peer, turns, calls)
    values: Values = {kind: statistics.median(times) for kind, times in found.items()}
    for kind in WATCHERS[1:]:
        pairs = zip(found[kind], found[WATCHERS[0]], strict=True)
        values[f"x nobody, {kind}"] = statistics.median(watched / alone for watched, alone in pairs)
    return values


async def _turns(peer: Peer, turns: int, calls: int) -> dict[str, list[float]]:
    """For each watcher its turns' medians, in us."""
    found: dict[str, list[float]] = {kind: [] for kind in WATCHERS}
    async with peer.open(1) as call:
        for turn in range(turns + 1):
            order = WATCHERS if turn % 2 else WATCHERS[::-1]
            for kind in order:
                with peer.watched(kind):
                    times = []
                    for _ in range(calls):
                        began = time.perf_counter_ns()
                        await call(echo, PAYLOAD)
                        times.append(time.perf_counter_ns() - began)
                if turn:  # the first is to warm up
                    found[kind].append(statistics.median(times) / 1e3)
    return found

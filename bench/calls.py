"""calls: the round trip of a 100-byte echo, one caller, one worker, both sides on one CPU."""

from __future__ import annotations

import time

import trio

from bench.interface import Peer, Values
from bench.jobs import echo
from bench.pin import pin

TITLE = "round trip of a 100-byte echo, one caller, one worker, pinned to one CPU; us"
COLUMNS = ("p50", "p99")
PAYLOAD = b"x" * 100
WARM_UP, CALLS = 500, 5000
SHORT_WARM_UP, SHORT_CALLS = 50, 300


def measure(peer: Peer, short: bool) -> Values:
    """Time each call on its own; the median is what a caller sees."""
    pin()
    warm_up, calls = (SHORT_WARM_UP, SHORT_CALLS) if short else (WARM_UP, CALLS)
    times = sorted(trio.run(_round_trips, peer, warm_up, calls))
    return {"p50": times[len(times) // 2] / 1e3, "p99": times[len(times) * 99 // 100] / 1e3}


async def _round_trips(peer: Peer, warm_up: int, calls: int) -> list[int]:
    clock = time.perf_counter_ns
    times = []
    async with peer.open(1) as call:
        for _ in range(warm_up):
            await call(echo, PAYLOAD)
        for _ in range(calls):
            began = clock()
            answer = await call(echo, PAYLOAD)
            times.append(clock() - began)
        if answer != PAYLOAD:
            raise RuntimeError(f"the echo was {answer!r}")
    return times

"""callers: 100-byte echoes by 64 concurrent callers on two workers: how many a second, and how long each takes.

A rate alone would reward whoever serves some callers twice and lets others wait: hence the percentiles beside it.
"""

from __future__ import annotations

import time

import trio

from bench.calls import PAYLOAD
from bench.interface import Call, Peer, Values
from bench.jobs import echo

TITLE = "64 callers, 2 workers, 100-byte echo; calls/s, and ms of each call"
COLUMNS = ("calls/s", "p50", "p99")
RATES = ("calls/s",)  # more of these is better; of all else, less
CALLERS, WORKERS = 64, 2
WARM_UP, DURATION = 0.2, 1.5  # seconds
SHORT_WARM_UP, SHORT_DURATION = 0.02, 0.1


def measure(peer: Peer, short: bool) -> Values:
    """The answers of a fixed time, after a warm-up that is not counted."""
    warm_up, duration = (SHORT_WARM_UP, SHORT_DURATION) if short else (WARM_UP, DURATION)
    rate, times = trio.run(_crowd, peer, warm_up, duration)
    return {"calls/s": rate, "p50": percentile(times, 50) / 1e6, "p99": percentile(times, 99) / 1e6}


async def _crowd(peer: Peer, warm_up: float, duration: float) -> tuple[float, list[int]]:
    async with peer.open(WORKERS) as call:
        await answers(call, CALLERS, warm_up)
        return await answers(call, CALLERS, duration)


async def answers(call: Call, callers: int, duration: float) -> tuple[float, list[int]]:
    """All callers go on until the time is over, and each awaits its last answer: nothing is cancelled.

    Returns:
        Answers a second, and the nanoseconds that each took, in order of size.
    """
    clock = time.perf_counter_ns
    began = clock()
    until = began + int(duration * 1e9)
    times: list[int] = []

    async def caller() -> None:
        now = clock()
        while now < until:
            await call(echo, PAYLOAD)
            asked, now = now, clock()
            times.append(now - asked)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return len(times) / (clock() - began) * 1e9, sorted(times)


def percentile(ordered: list[int], percent: int) -> int:
    """The value below which so many percent of them are."""
    return ordered[len(ordered) * percent // 100]

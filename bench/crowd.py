"""crowd: 256 forked workers in one pool: until all have answered, what they do together, and what they take.

Idle is everything below this process and itself, helpers included: nothing may poll, and one worker that does is
256 that do.
"""

from __future__ import annotations

import os
import statistics
import time

import trio

from bench.boot import all_answer
from bench.callers import answers
from bench.interface import Peer, Values
from bench.usage import Usage, alive, descendants, pss, usage

TITLE = (
    "256 forked workers: answered and closed in s, calls/s of 256 callers, PSS each in MB; "
    "wake-ups, and ms of processor time, a second of idling, of all processes; workers left"
)
COLUMNS = ("answered", "calls/s", "PSS", "wake-ups", "idle", "close", "left")
RATES = ("calls/s",)  # more of these is better; of all else, less
WORKERS, SHORT_WORKERS = 256, 8
DURATION, SHORT_DURATION = 2.0, 0.1  # seconds of calls
IDLE, SHORT_IDLE = 4.0, 0.2  # seconds
PAUSE = 0.2  # seconds after the last call, for whatever follows it


def measure(peer: Peer, short: bool) -> Values:
    """One pool."""
    return trio.run(
        _crowd,
        peer,
        *((SHORT_WORKERS, SHORT_DURATION, SHORT_IDLE) if short else (WORKERS, DURATION, IDLE)),
    )


async def _crowd(peer: Peer, workers: int, duration: float, idle: float) -> Values:
    began = time.perf_counter()
    async with peer.open(workers) as call:
        pids = await all_answer(call, workers)
        found: Values = {"answered": time.perf_counter() - began}
        found["calls/s"], _ = await answers(call, workers, duration)
        found["PSS"] = statistics.mean(map(pss, pids))
        await trio.sleep(PAUSE)
        used = await _idling(idle)
        began = time.perf_counter()
    found["close"] = time.perf_counter() - began
    return {
        **found,
        "wake-ups": used.sleeps / idle,
        "idle": used.seconds / idle * 1e3,
        "left": alive(pids),
    }


async def _idling(seconds: float) -> Usage:
    """What this process and all below it take meanwhile. Our own reading of /proc is kept out of it."""
    own, others = [os.getpid()], [*descendants(os.getpid())]
    before = usage(others) + usage(own)
    await trio.sleep(seconds)
    return usage(own) + usage(others) - before

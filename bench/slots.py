"""slots: what 512 slots take that nobody calls: memory, processor time, and the time to open and close them.

Workers are tasks, so memory is that of both sides. What one call costs among so many is `dispatch`.
"""

from __future__ import annotations

import os
import time

import trio

from bench.interface import Peer, Values
from bench.usage import rss, usage

TITLE = (
    "512 slots, workers are tasks: ready and closed in ms; KB a slot, both sides; wake-ups, and us of processor time, \
a second of idling"
)
COLUMNS = ("ready", "KB a slot", "wake-ups", "idle", "close")
SLOTS, SHORT_SLOTS = 512, 64
IDLE, SHORT_IDLE = 3.0, 0.2  # seconds
PAUSE = 1.5  # seconds: once each worker has lived for `min_uptime`, its supervisor notes it


def measure(peer: Peer, short: bool) -> Values:
    """Beside a pool of one slot, which has paid for what every pool needs."""
    return trio.run(_slots, peer, *((SHORT_SLOTS, SHORT_IDLE) if short else (SLOTS, IDLE)))


async def _slots(peer: Peer, slots: int, idle: float) -> Values:
    async with peer.open(1):
        before, began = rss(), time.perf_counter()
        async with peer.open(slots):
            ready = time.perf_counter() - began
            memory = (rss() - before) / slots * 1e3
            await trio.sleep(PAUSE)
            quiet = usage([os.getpid()])
            await trio.sleep(idle)
            used = usage([os.getpid()]) - quiet
            began = time.perf_counter()
        close = time.perf_counter() - began
    return {
        "ready": ready * 1e3,
        "KB a slot": memory,
        "wake-ups": used.sleeps / idle,
        "idle": used.seconds / idle * 1e6,
        "close": close * 1e3,
    }

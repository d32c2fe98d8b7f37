"""The pulse of one pool: its pace, felt about ten times a second while somebody watches, and not at all otherwise.

Invariants
    1. While nobody watches, nothing runs.
    2. However many watch, it is felt once.

Knows a pool's statistics. Does not know who watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from .._pool import PoolStatistics, WorkerPool
from ._pace import Mark, Pace

__all__ = ["Pulse"]

FEEL_EVERY = 0.1
"""Seconds between two looks at how much runs."""
FEEL_SLOT = 0.001
"""Seconds between them for each slot, if that is more: a look at a slot takes some microseconds."""


class Pulse:
    """What a watcher asks for the pool's pace."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._pace = Pace(trio.current_time(), 0)
        self._watchers = 0
        self._watched = trio.Event()

    async def run(self) -> None:
        """Feel it while somebody watches, until cancelled."""
        pause = max(FEEL_EVERY, FEEL_SLOT * len(self._pool.statistics().slots))
        while True:
            await self._watched.wait()
            while self._watchers:
                await trio.sleep(pause)
                self._look()
            self._watched = trio.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody watches inside the block."""
        self._watchers += 1
        self._watched.set()
        try:
            yield
        finally:
            self._watchers -= 1

    def mark(self) -> Mark:
        """How far the pool is now."""
        return self._look()

    def _look(self) -> Mark:
        now = self._pool.statistics()
        return self._pace.look(trio.current_time(), _ended(now), now.running, now.queued + now.held)


def _ended(now: PoolStatistics) -> int:
    """Calls that ran and have ended, well or not."""
    return now.succeeded + now.failed + now.cancelled + now.exec_timeouts + now.died

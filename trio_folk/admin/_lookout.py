"""The lookout over one pool: its statistics, and beside them how the last worker of each slot ended.

Who looks at a pool in the morning wants to know what died in the night; by then its slot has another worker.

Invariants
    1. What is kept is bounded: one end a slot.

Knows a pool's events and statistics. Does not know sockets.
"""

from __future__ import annotations

from typing import Any

import trio

from .._pool import PoolEvent, WorkerPool
from ._plain import plain

__all__ = ["Lookout"]


class Lookout:
    """What is known of one pool beyond its statistics.

    Attributes:
        pool: the pool.
        over: set when the pool has closed.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.over = trio.Event()
        self._ends: dict[int, tuple[PoolEvent, bool]] = {}
        self._retiring: set[str] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Note how workers end, until the pool does."""
        with self.pool.events() as events:
            task_status.started()
            async for event in events:
                self._note(event)
        self.over.set()

    def _note(self, event: PoolEvent) -> None:
        if event.worker is None:
            return
        if event.kind == "retiring":
            self._retiring.add(event.worker)
        elif event.kind == "ended":
            planned = event.worker in self._retiring
            self._retiring.discard(event.worker)
            self._ends[_slot_of(event.worker)] = event, planned

    def record(self) -> dict[str, Any]:
        """The pool at this instant, each slot with its last worker's end."""
        now, told = trio.current_time(), plain(self.pool.statistics(memory=True))
        for slot in told["slots"]:
            slot["last_end"] = self._last_end(slot["number"], now)
        return told

    def _last_end(self, slot: int, now: float) -> dict[str, Any] | None:
        if slot not in self._ends:
            return None
        event, planned = self._ends[slot]
        return {
            "worker": event.worker,
            "reason": event.reason,
            "exit": None if event.exit is None else str(event.exit),
            "planned": planned,
            "ago": now - event.time,
        }


def _slot_of(worker: str) -> int:
    """The slot in an id: ``thumbs/3.12``, of a pool whose name may have any characters."""
    return int(worker.rpartition("/")[2].partition(".")[0])

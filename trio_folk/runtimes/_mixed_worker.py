"""A worker of one part of a mixed runtime: it takes the job of a call that is for its part.

Knows a handle by its interface, and mixed jobs. Does not know runtimes.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import trio

from ..abc import Job, Rung, WorkerExit, WorkerHandle, WorkerId
from ._mixed_jobs import MixedJob

__all__ = ["MixedWorker"]


def _own(name: str) -> Any:
    """An attribute that is the part's own handle's."""
    return property(attrgetter(f"_handle.{name}"))


class MixedWorker(WorkerHandle):
    """A worker of one part, which takes the job of a call that is for its part.

    Args:
        handle: the part's own handle on it.
        part: the number of the part; the lower, the sooner the pool takes its workers.
    """

    id: WorkerId = _own("id")
    generation: int = _own("generation")
    pid: int | None = _own("pid")
    concurrency: int = _own("concurrency")
    holds: bool = _own("holds")
    features: frozenset[str] = _own("features")
    condemned: trio.Event = _own("condemned")
    ended: trio.Event = _own("ended")
    reason: str | None = _own("reason")
    planned: bool = _own("planned")
    exit: WorkerExit | None = _own("exit")

    def __init__(self, handle: WorkerHandle, part: int) -> None:
        self._handle = handle
        self.rank: int = part

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def stages(self) -> tuple[tuple[str, float], ...]:
        return self._handle.stages

    @property
    def stderr(self) -> tuple[str, ...]:
        return self._handle.stderr

    def recall(self) -> bool:
        return self._handle.recall()

    def tell_answers(self, told: Callable[[int, float], object]) -> None:
        self._handle.tell_answers(told)

    async def ready(self) -> None:
        await self._handle.ready()

    async def execute(self, job: Job) -> Any:
        if not isinstance(job, MixedJob):
            raise TypeError(f"{job!r} was prepared by another runtime than the one that made {self!r}")
        return await job.run(self.rank, self._handle)

    def terminate(self, reason: str, rung: Rung = Rung.STOP) -> None:
        self._handle.terminate(reason, rung)

    def memory(self) -> int | None:
        return self._handle.memory()

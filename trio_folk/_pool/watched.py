"""One call under the eyes of instruments, from its arrival to its end.

Invariants
    1. Who hears that the call is queued hears of its end, whatever that is; unless he was removed.
    2. The call takes along what the instruments gave it, beside what the pool's own configuration names.

Knows the core's instruments, and how errors say that a call ended. Does not know dispatch or workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .._errors import CrashLoop, PoolClosed, WorkerDied
from ..abc import CallEnd, CallRecord, Chunk, ChunkReply, Job, WorkerHandle
from .core import Core
from .errors import ExecTimeout, PoolBusy, QueueTimeout

__all__ = ["Watched", "watch"]

_ENDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], CallEnd], ...] = (
    ((PoolBusy, PoolClosed, CrashLoop), "refused"),
    (QueueTimeout, "queue_timeout"),
    (ExecTimeout, "exec_timeout"),
    (WorkerDied, "died"),
    (Exception, "failed"),
)


class Watched:
    """What the instruments hear of one call."""

    def __init__(self, core: Core, job: Job) -> None:
        self._instruments = core.instruments
        self._hearers = core.instruments.of_calls
        items = job.count if isinstance(job, Chunk) else 1
        self._call = CallRecord(pool=core.name, method=job.name, items=items)
        self._heard_of = False

    def queued(self, job: Job) -> None:
        """It waits for a worker."""
        call = self._call
        call.queued_at = trio.current_time()
        self._heard_of = True
        self._instruments.tell(self._hearers, "call_queued", call)
        if call.context:
            job.context = {**(job.context or {}), **call.context}

    def started(self, handle: WorkerHandle) -> None:
        """This worker has it."""
        call = self._call
        call.worker = str(handle.id)
        call.started_at = trio.current_time()
        call.attempts += 1
        self._instruments.tell(self._hearers, "call_started", call)

    def finished(self, result: object, error: BaseException | None = None) -> None:
        """It has ended with this."""
        call = self._call
        if not self._heard_of:
            return  # it made no sense, and never came as far as waiting
        call.finished_at = trio.current_time()
        call.end = _end_of(error)
        if isinstance(result, ChunkReply):
            call.failures = len(result.failures)
        self._instruments.tell(self._hearers, "call_finished", call, error)


async def watch(core: Core, job: Job, run: Callable[..., Awaitable[Any]]) -> Any:
    """Have a job run by ``run(watched=...)``, and tell its end."""
    watched = Watched(core, job)
    try:
        result = await run(watched=watched)
    except BaseException as error:
        watched.finished(None, error)
        raise
    watched.finished(result)
    return result


def _end_of(error: BaseException | None) -> CallEnd:
    if error is None:
        return "succeeded"
    for kind, end in _ENDS:
        if isinstance(error, kind):
            return end
    return "cancelled"

"""A lease: several calls in a row on the same worker.

Knows one incarnation. Does not know how it was chosen.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar, final

import trio

from .._errors import WorkerDied
from ..abc import Job, NotStarted
from . import calls
from .core import Core
from .incarnation import Incarnation
from .progress import JobProgress, reporting
from .stream import StreamItems, open_stream, prepare
from .watched import Watched, watch

__all__ = ["Lease"]

T = TypeVar("T")


@final
class Lease:
    """One caller's use of one worker, from `WorkerPool.lease`. It is not replaced if it dies."""

    _core: Core
    _incarnation: Incarnation
    _over = False

    def __init__(self) -> None:
        raise TypeError("a lease is taken: `async with pool.lease() as lease`")

    @classmethod
    def _of(cls, core: Core, incarnation: Incarnation) -> Lease:
        lease = object.__new__(cls)
        lease._core = core
        lease._incarnation = incarnation
        return lease

    def __repr__(self) -> str:
        return f"<Lease of {self._incarnation.handle!r}{', over' if self._over else ''}>"

    @property
    def worker(self) -> str:
        """``pool/slot.incarnation`` of the worker."""
        return str(self._incarnation.handle.id)

    @property
    def pid(self) -> int | None:
        """Its process id, where it has one."""
        return self._incarnation.handle.pid

    async def execute(
        self,
        method: str,
        params: object = None,
        *,
        exec_timeout: float | None = None,
        progress: JobProgress | None = None,
    ) -> Any:
        """Call a named method of this worker; as `WorkerPool.execute`, without a wait for a slot.

        Raises:
            WorkerDied: also when it had died before the call.

        Cancellation: as `WorkerPool.execute`; a worker that ended the call in time can be used further.
        """
        job = self._core.runtime.prepare(method, params)
        return await reporting(job, progress, partial(self._run, exec_timeout=exec_timeout))

    async def run_sync(
        self,
        fn: Callable[..., T],
        *args: Any,
        exec_timeout: float | None = None,
        progress: JobProgress | None = None,
    ) -> T:
        """Run a function in this worker; as `WorkerPool.run_sync`, without a wait for a slot.

        Cancellation: as `WorkerPool.execute`; a worker that ended the call in time can be used further.
        """
        job = self._core.runtime.prepare_python(fn, args, {})
        result: T = await reporting(job, progress, partial(self._run, exec_timeout=exec_timeout))
        return result

    def stream(
        self,
        method: str,
        params: object = None,
        *,
        exec_timeout: float | None = None,
        window: int = 16,
        progress: JobProgress | None = None,
        feed: AsyncIterable[bytes] | None = None,
    ) -> AbstractAsyncContextManager[StreamItems]:
        """The items of a method of this worker that yields; as `WorkerPool.stream`, without a wait for a slot.

        Leave its block before that of the lease.

        Cancellation: as `WorkerPool.stream`; a worker that ended the stream in time can be used further.
        """
        stream = prepare(self._core.runtime, method, params, window, feed)
        run = partial(self._run, exec_timeout=exec_timeout)
        return open_stream(stream, partial(reporting, callback=progress, run=run), feed)

    async def _run(self, job: Job, exec_timeout: float | None, *, watched: Watched | None = None) -> Any:
        if self._over:
            raise RuntimeError("the lease is over: its block was left")
        if self._core.instruments.of_calls and watched is None:
            return await watch(self._core, job, partial(self._run, job, exec_timeout))
        calls.check_timeouts(exec_timeout, None)
        self._core.accompany(job)
        if watched is not None:
            watched.queued(job)
            watched.started(self._incarnation.handle)
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            seconds = self._core.config.exec_timeout if exec_timeout is None else exec_timeout
            result = await calls.run_timed(self._incarnation, job, seconds)
        except NotStarted:
            handle = self._incarnation.handle
            raise WorkerDied(
                f"the leased worker has ended: {handle.reason}; the call was not run",
                worker=self.worker,
                pid=handle.pid,
                generation=handle.generation,
                stderr=handle.stderr,
                stage="call",
                hint="take a new lease",
            ) from None
        except BaseException as error:
            calls.note_failure(self._core, error)
            raise
        self._core.counts.succeeded += 1
        return result

    def _end(self) -> None:
        self._over = True

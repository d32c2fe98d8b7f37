"""The task runtime: workers as trio tasks of this process, over the same wire.

For unit tests, mocked clocks and debuggers: a breakpoint in a method stops where one can see it, and time is
trio's. The bytes take the same way as to a process, so what is tested is what runs. Not for work: synchronous
methods run inline, hold up the whole program, and cannot be interrupted; the traits say so.

Knows the SDK's async loop. Does not know processes.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from .._errors import BootFailed
from .._wire import MAX_FRAME, encode_notify
from ..abc import Birth, Traits, WorkerExit, WorkerHandle
from ..worker import Worker
from ..worker._async import serve
from ..worker._target import TargetError, load_target
from ..worker._worker import ready_params
from ._handle import SocketWorker
from ._life import live
from ._sockets import Sockets
from ._wired import WireRuntime

__all__ = ["TaskBody", "TaskRuntime"]

_TEXT = 8192  # characters of a message or traceback: with both, the control channel still takes it at once


class TaskBody:
    """A task that stands in for a process: it can be waited for, and its signals cancel it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope(shield=True)  # its owner ends it by the ladder, as it would a process
        self._exit: WorkerExit | None = None
        self._gone = trio.Event()
        self._signal = signal.SIGKILL

    @property
    def exit(self) -> WorkerExit | None:
        """How it ended, or None while it runs."""
        return self._exit

    async def wait(self) -> WorkerExit:
        """Return when it has ended, and how."""
        await self._gone.wait()
        assert self._exit is not None
        return self._exit

    def signal_group(self, sig: int) -> None:
        """SIGTERM and SIGKILL cancel the task; it ends at its next checkpoint."""
        if self._exit is None and sig in (signal.SIGTERM, signal.SIGKILL):
            self._signal = signal.Signals(sig)
            self.scope.cancel()

    async def run(self, serving: Callable[[], Awaitable[WorkerExit]], sockets: Sockets) -> None:
        """Be the worker."""
        how = WorkerExit(code=0)
        try:
            with self.scope:
                how = await serving()
            if self.scope.cancelled_caught:
                how = WorkerExit(signal=self._signal.name)
        except Exception as error:
            how = WorkerExit(code=1, detail=repr(error))
        finally:
            sockets.close_child_ends()
            self._exit = how
            self._gone.set()


class TaskRuntime(WireRuntime):
    """Workers as tasks of this process, for tests and debuggers.

    Args:
        worker: whose methods are called; a Worker, or ``"module:object"``; without one the workers run
            functions only.
        recyclable: whether its workers may be replaced while they are healthy.
        max_frame: the longest message either way, in bytes.
    """

    def __init__(
        self, worker: Worker | str | None = None, *, recyclable: bool = True, max_frame: int = MAX_FRAME
    ) -> None:
        self._worker = worker if worker is not None else Worker()
        self._max_frame = max_frame
        self.traits: Traits = Traits(processes=False, interruptible=False, recyclable=recyclable, python=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._worker!r}>"

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._live(birth, TaskBody(), self._be, task_status)

    async def _live(
        self,
        birth: Birth,
        body: TaskBody,
        be: Callable[[Birth, Sockets], Awaitable[WorkerExit]],
        task_status: trio.TaskStatus[WorkerHandle],
    ) -> None:
        """Be the life of a worker that `be` plays in this body."""
        worker: SocketWorker | None = None
        try:
            with Sockets() as sockets:
                worker = SocketWorker(birth, sockets, self._max_frame)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(body.run, partial(be, birth, sockets), sockets)
                    task_status.started(worker)
                    try:
                        await live(worker, body, birth.ladder)
                    finally:
                        body.scope.cancel()
        except BootFailed as error:
            error.worker, error.generation = str(birth.id), birth.generation
            raise
        finally:
            if worker is not None:
                worker.note_end()

    async def _be(self, birth: Birth, sockets: Sockets) -> WorkerExit:
        """Be the worker, from its boot to the end of file."""
        try:
            worker = self._worker if isinstance(self._worker, Worker) else load_target(self._worker)
        except TargetError as error:
            told = {
                "type": error.kind,
                "message": error.message[:_TEXT],
                "traceback": error.traceback[-_TEXT:],
            }
            sockets.child_control.sendall(encode_notify("folk.failed", told))
            return WorkerExit(code=1)
        sockets.child_control.sendall(encode_notify("control.ready", ready_params(worker, in_process=True)))
        await serve(worker, sockets.child_task, sockets.child_control, limit=self._max_frame, in_process=True)
        return WorkerExit(code=0)

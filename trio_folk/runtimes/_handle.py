"""The handle on a worker that speaks the protocol over two sockets, whatever stands behind them.

Whatever ends it, every call that was on it ends with an error that says which, and says all that is known of the end.

Invariants
    1. A condemned worker takes no call; one that was never sent ends with NotStarted.
    2. Calls that a death cut short wait for its circumstances, but no longer than AUTOPSY.

Knows the two channels. Does not know what a worker is made of: the task that runs its life tells.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .._errors import BootFailed, FolkError, ProtocolError, WorkerDied
from .._wire import Notify
from ..abc import Birth, Job, NotStarted, Rung, WorkerExit
from ..worker._descriptors import Descriptors
from ._buffers import Buffers, Sharing
from ._channel import ChannelBroken, TaskChannel, was_cancelled
from ._control import Announcement, ControlChannel, Refusal, revoked
from ._jobs import WireJob
from ._mortal import Mortal
from ._python import PythonJob
from ._sockets import Sockets
from ._stream import StreamJob
from ._talk import Talk
from ._waiting import CallWait

if TYPE_CHECKING:
    from .._process import Output

__all__ = ["SocketWorker"]

_Error = TypeVar("_Error", bound=FolkError)
_PAGE = os.sysconf("SC_PAGE_SIZE")

AUTOPSY = 1.0
"""Seconds that an error waits for the exit status and the last lines of a worker that is just dying."""


class SocketWorker(Mortal):
    """One live worker behind a task channel and a control channel.

    Args:
        sharing: how it shares large buffers with us, if it says that it can.

    Attributes:
        inner: finds the worker's own pid, where `pid` is that of a process which stands before it.
    """

    inner: Callable[[int], int | None] | None = None

    def __init__(
        self,
        birth: Birth,
        sockets: Sockets,
        limit: int,
        pid: int | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        super().__init__(birth)
        self.pid = pid
        self.output: Output | None = None
        self._tasks = TaskChannel(sockets.task, limit, self._on_task_end)
        self._control = ControlChannel(sockets.control, limit)
        self._sharing = sharing
        self._buffers: Buffers | None = None
        if sharing is not None:
            self._control.descriptors = Descriptors()
        self._refusal: FolkError | None = None
        self._cut = False  # its calls were ended by us, not by its death
        self._silent = False  # it closed a channel; should it be dead, that is the better reason
        self._meta = False
        self._asked_at: float | None = None

    def __repr__(self) -> str:
        if self.ended.is_set():
            state = str(self.exit or "given up")
        elif self.condemned.is_set():
            state = f"ending: {self.reason}"
        else:
            state = f"{self._tasks.running} running" if self._ready else "booting"
        return f"<worker {self.id}{f' pid {self.pid}' if self.pid else ''}: {state}>"

    @property
    def stderr(self) -> tuple[str, ...]:
        return self.output.tail if self.output is not None else ()

    @property
    def idle(self) -> bool:
        """Ready, and without a call."""
        return self._ready and not self._tasks.running

    async def ready(self) -> None:
        await self._said.wait()
        if self._ready:
            return
        if self._refusal is None:
            await self._autopsy()
            raise self._told(BootFailed(f"{self.reason} before it was ready"))
        raise self._refusal

    async def execute(self, job: Job) -> Any:
        assert isinstance(job, WireJob), "a job of another runtime"
        segment = None if job.large is None else await self._lend(job)
        try:
            if self.reason is not None:
                raise NotStarted  # invariant 1
            sent = self._talk(job) if job.streams or job.progress is not None else job
            answer = self._tasks.send(sent, self._remaining())
            reply = await self._tasks.wait(answer) if isinstance(answer, CallWait) else answer
        except ChannelBroken:
            if not self._cut:
                await self._autopsy()
            raise self._told(
                WorkerDied(f"the worker ended while the call was running: {self.reason}")
            ) from None
        except ProtocolError as error:
            if self._tasks.open:
                raise  # the frame was refused before it was sent; the worker is unharmed
            raise self._told(type(error)(error.message)) from None
        except BaseException as error:
            if self._tasks.abandoned:
                self._end_after(error)
            raise
        finally:
            if segment is not None:
                self._settle(segment)
        if reply.error is not None and was_cancelled(reply):
            await self._await_own_cancellation()
        if reply.error is not None:
            failure = job.error(reply.error)
            raise self._named(failure) if isinstance(failure, FolkError) else failure
        if type(reply.result) is list and isinstance(job, PythonJob):
            return await self._value_beside(job, reply.result)
        return job.value(reply.result)

    async def _lend(self, job: WireJob) -> int | None:
        """Put what is large in a job where the worker finds it: in this segment, or else into the frame."""
        loan = None
        if self.reason is not None:
            raise NotStarted
        if self._buffers is not None and job.large is not None:
            try:
                loan = await self._buffers.lend(job.large)
            except ProtocolError as error:
                self._object(error)
                raise NotStarted from None
        job.carry(loan)
        return None if loan is None else loan[0]

    def _settle(self, segment: int) -> None:
        """The call with this segment is over. Of a worker that is ending nothing is used again."""
        if self._buffers is not None and self.reason is None:
            try:
                self._buffers.settle(segment)
            except ProtocolError as error:
                self._object(error)

    async def _value_beside(self, job: PythonJob, result: list[Any]) -> Any:
        """A value of which large parts lie in shared memory."""
        try:
            if self._buffers is None or len(result) != 2:
                raise ProtocolError("the result of folk.call is a bin, or a bin and a loan")
            buffers = await self._buffers.borrow(result[1])
        except ProtocolError as error:
            self._object(error)
            raise self._told(ProtocolError(error.message)) from None
        return job.value_beside(result[0], buffers)

    def _object(self, error: ProtocolError) -> None:
        """The worker said what cannot be true."""
        self.condemn(f"it broke the protocol: {error.message}", Rung.TERMINATE)
        self._tasks.close()

    def _remaining(self) -> float | None:
        if not self._meta:
            return None
        deadline = trio.current_effective_deadline()
        return math.inf if deadline == math.inf else deadline - trio.current_time()

    def _talk(self, job: WireJob) -> Talk | WireJob:
        """How to send a call that says more than its reply."""
        if job.streams and not (self._meta and "stream" in self.features):
            raise self._told(
                FolkError(
                    f"the worker {self.id} does not stream: it has not announced the features meta and stream",
                    hint="see docs/protocol.md, 'stream'",
                )
            )
        if isinstance(job, StreamJob) and job.feed is not None and "feed" not in self.features:
            raise self._told(
                FolkError(
                    f"the worker {self.id} takes no more than its request: it has not announced the feature feed",
                    hint="see docs/protocol.md, 'feed'",
                )
            )
        if not self._meta:
            return job  # it has nothing to say
        talk = Talk(job, self._control, self.features)
        if job.streams and self._ladder.cancel > 0:
            talk.cancel = partial(self._ask_to_end, ask=talk.ask_to_end)
        return talk

    def _ask_to_end(self, msgid: int, ask: Callable[[int], bool] | None = None) -> float:
        """Ask the worker to end a call; how many seconds it has, or 0 if it cannot be asked."""
        if not (ask or self._control.cancel)(msgid):
            return 0.0
        self._asked_at = trio.current_time()
        return self._ladder.cancel

    async def _await_own_cancellation(self) -> None:
        """The worker's clock ran out a moment before the caller's, which says the same."""
        with trio.move_on_after(AUTOPSY):
            await trio.sleep_forever()

    def _end_after(self, error: BaseException) -> None:
        """A call was left while it ran: what state the worker is in, nobody knows."""
        cancelled = isinstance(error, trio.Cancelled)
        self._end_after_cancel(type(error).__name__, self._asked_at if cancelled else None)

    def terminate(self, reason: str, rung: Rung = Rung.STOP) -> None:
        if not self.condemned.is_set():
            self.planned = True
            self.condemn(reason, rung)
        self._cut = self._cut or self._tasks.open
        self._tasks.close()
        self._raise_to(rung)

    def recall(self) -> bool:
        return self._tasks.recall()

    def tell_answers(self, told: Callable[[int, float], object]) -> None:
        self._tasks.on_answers = told

    def memory(self) -> int | None:
        if self.pid is None or self.exit is not None:
            return None
        pid = self.pid if self.inner is None else self.inner(self.pid)
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])  # proc_pid_statm(5)
        except (OSError, IndexError, ValueError):
            return None
        return pages * _PAGE or None  # a zombie has none

    # -- what the task that runs the worker's life calls

    def stop(self) -> None:
        """Let the worker see the end of file on its task channel."""
        self._tasks.half_close()

    def note_death(self, how: WorkerExit) -> None:
        """The worker is dead: what it still answered is delivered, the rest ends."""
        self.exit = how
        self._gone_at = trio.current_time()
        reason = f"it was {how}" if how.signal else f"it {how}"
        self.condemn(reason)
        if self._silent and not self._cut and trio.current_time() - self._condemned_at < self._ladder.stop:
            self.reason = reason  # a channel closed a moment earlier, but this is why
        self._tasks.close_after_death()

    def note_end(self) -> None:
        """The worker is gone, and nothing of it is left."""
        self.condemn("it ended")
        self._tasks.give_up()
        if self._buffers is not None:
            self._buffers.close()
        if self._control.descriptors is not None:
            self._control.descriptors.close()
        self.ended.set()

    async def pump(self) -> None:
        """Send what a busy worker is given."""
        await self._tasks.pump()

    async def attend(self) -> None:
        """Follow the control channel to its end."""
        try:
            await self._attend()
        finally:
            self._control.abandon()

    async def _attend(self) -> None:
        try:
            said = await self._control.first()
            if isinstance(said, Announcement):
                self._become_ready(said)
                await self._listen()
            elif isinstance(said, Refusal):
                self._refuse(said)
                return
        except ProtocolError as error:
            self._refusal = self._told(BootFailed(error.message, hint=error.hint))
            self._object(error)
            return
        # Its death closes the channel a moment before it is noticed; then its exit is the better reason.
        with trio.move_on_after(AUTOPSY):
            await self.condemned.wait()
        self._fall_silent("it closed its control channel")

    async def _listen(self) -> None:
        if self._buffers is None:
            await self._control.listen(self._hear)
        else:
            await self._buffers.tend(partial(self._control.listen, self._hear))

    def _hear(self, told: Notify) -> None:
        """What a ready worker says on its control channel. What nobody asked for is ignored: newer ones say more."""
        if told.method == "folk.revoked":
            if self._tasks.open:
                self._tasks.take_back(*revoked(told.params))
        elif self._buffers is not None:
            self._buffers.hear(told)

    def _become_ready(self, said: Announcement) -> None:
        if not self.condemned.is_set():
            self.concurrency = said.concurrency
            self.features = said.features
            self._meta = "meta" in said.features
            if "cancel" in said.features and self._ladder.cancel > 0:
                self._tasks.cancel = self._ask_to_end
            if self.concurrency == 1 and said.features >= {"order", "revoke"}:
                self._tasks.revoke = self._control.revoke
                self.holds = True
            if "buffers" in said.features and self._sharing is not None:
                self._buffers = Buffers(self._control, self._sharing.most)
                self._tasks.told.over = self._buffers.over
                self._tasks.told.release = self._buffers.release
            self._ready = True
            self._said.set()

    def _refuse(self, said: Refusal) -> None:
        failure = BootFailed(said.message)
        failure.remote_traceback = said.remote_traceback
        self._refusal = self._told(failure)
        self.terminate("it said that it cannot serve")

    def _on_task_end(self, error: ProtocolError | None) -> None:
        if error is None:
            self._fall_silent("it closed its task channel")
        else:
            self.condemn(f"it broke the protocol: {error.message}", Rung.TERMINATE)

    def _fall_silent(self, reason: str) -> None:
        self._silent = self._silent or not self.condemned.is_set()
        self.condemn(reason)

    async def _autopsy(self) -> None:
        with trio.move_on_after(AUTOPSY):
            await self.ended.wait()

    def _told(self, error: _Error) -> _Error:
        """The error with all that is known of the worker's end."""
        error.stderr = self.stderr
        error.stage = "call" if self._ready else "boot"
        if self.exit is not None:
            error.exit_code, error.signal = self.exit.code, self.exit.signal
        return self._named(error)

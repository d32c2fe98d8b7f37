"""The handle on a worker that Ray runs: the frames of the wire, carried by an actor's methods.

Invariants
    1. A condemned worker takes no call; one that was never sent ends with NotStarted.
    2. A reply that came before the worker's death is delivered; every other call ends with its reason.

Knows jobs, and an actor's promises. Does not know how Ray finds a place for it, nor when it is taken down.
Picture: docs/design/ray.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import trio

from .._errors import BootFailed, FolkError, ProtocolError, WorkerDied
from .._wire import Message, MessageDecoder, Response, encode_notify
from ..abc import Birth, Job, NotStarted, Rung, WorkerExit
from . import _ray_api as api
from ._channel import was_cancelled
from ._control import Announcement, Refusal, revoked, understood
from ._jobs import Told, WireJob
from ._mortal import Mortal
from ._python import PythonJob
from ._ray_bridge import Bridge
from ._ray_calls import RayCall, RayCalls
from ._ray_talk import RayTalk, put_beside, value_beside

__all__ = ["RayWorker"]

_Error = TypeVar("_Error", bound=FolkError)

RECALL = 1.0
"""Seconds in which a worker says whether it gives a call back."""


class RayWorker(Mortal):
    """One live actor.

    Args:
        birth: what its runtime was told.
        actor: Ray's side of it.
        bridge: how its results come here.
        limit: the longest frame, in bytes.
        lost: told the id of a node that does not answer, before anything else follows from that.

    Attributes:
        node: the id of the node that it runs on, once it has said so.
        rss: its resident memory, by its last heartbeat.
    """

    def __init__(
        self, birth: Birth, actor: api.RayActor, bridge: Bridge, limit: int, lost: Callable[[str], object]
    ) -> None:
        super().__init__(birth)
        self.gone = trio.Event()
        self.node = ""
        self.rss = 0
        self._actor = actor
        self._bridge = bridge
        self._limit = limit
        self._lost = lost
        self._decoder = MessageDecoder(limit)
        self._told = Told()
        self._calls = RayCalls(self._revoke)
        self._revoking: dict[int, Any] = {}  # what was asked of the worker, until it has answered
        self._talks: set[RayTalk] = set()
        self._answers: Callable[[int, float], object] | None = None
        self._msgid = 0
        self._refusal: BootFailed | None = None

    def __repr__(self) -> str:
        if self.ended.is_set():
            state = str(self.exit or "given up")
        elif self.condemned.is_set():
            state = f"ending: {self.reason}"
        else:
            state = f"{len(self._calls)} running" if self._ready else "booting"
        return f"<worker {self.id} on Ray{f' node {self.node[:8]}' if self.node else ''}: {state}>"

    @property
    def idle(self) -> bool:
        """Ready, and without a call."""
        return self._ready and not self._calls

    def memory(self) -> int | None:
        return self.rss or None if self.exit is None and not self.ended.is_set() else None

    async def ready(self) -> None:
        await self._said.wait()
        if not self._ready:
            raise self._refusal or self._named(BootFailed(f"{self.reason} before it was ready", stage="boot"))

    async def execute(self, job: Job) -> Any:
        assert isinstance(job, WireJob), "a job of another runtime"
        beside = None if job.large is None else await put_beside(job)
        if self.reason is not None:
            raise NotStarted  # invariant 1
        msgid = self._msgid = self._msgid % 0xFFFF_FFFF + 1
        talk = RayTalk(job, self, msgid) if job.streams or job.progress is not None else None
        frame = self._frame(job if talk is None else talk, msgid)
        promise = self._bridge.promise(
            self._actor.call(frame) if beside is None else self._actor.call(frame, beside)
        )
        if talk is not None:
            self._talks.add(talk)
        call = self._calls.add(msgid, promise, job.begun if talk is None else talk.begin)
        try:
            reply = await self._reply(call, msgid, talk)
        finally:
            took = self._calls.remove(msgid)
            if talk is not None:
                self._talks.discard(talk)
                talk.end()
        if call.given_back:
            raise NotStarted
        if self._answers is not None:
            self._answers(1, took)
        message, lent = self._read(reply, msgid)
        if message.error is not None:
            failure = job.error(message.error)
            raise self._named(failure) if isinstance(failure, FolkError) else failure
        if type(message.result) is list and isinstance(job, PythonJob):
            try:
                return await value_beside(job, message.result, lent)
            except ProtocolError as error:
                raise self.object(error.message) from None
        return job.value(message.result)

    def _frame(self, job: WireJob | RayTalk, msgid: int) -> bytes:
        deadline = trio.current_effective_deadline()
        remaining = math.inf if deadline == math.inf else deadline - trio.current_time()
        request = job.encode(msgid, self._limit, remaining)  # first: what is too large has told nothing
        preface = job.preface(self._told, self._limit)
        return preface + request if preface else request

    async def _reply(self, call: RayCall, msgid: int, talk: RayTalk | None) -> Any:
        """What the worker answers, in time: then that it was cancelled is no answer."""
        promise = call.promise
        try:
            await promise.kept.wait()
        except trio.Cancelled:
            if await self._calls.have_back(msgid, RECALL):
                raise
            asked = trio.current_time()
            if self._ladder.cancel > 0 and self.reason is None:
                (self.cancel if talk is None else talk.ask_to_end)(msgid)
                with trio.move_on_after(self._ladder.cancel, shield=True):
                    await promise.kept.wait()
            if not promise.kept.is_set():
                self._end_after_cancel("Cancelled", asked if self._ladder.cancel > 0 else None)
                raise
            if not self._is_answer(promise.value):
                raise
        if talk is not None and promise.value is not None and not call.given_back:
            with trio.CancelScope(shield=True):  # the worker has closed it, or has ended
                await talk.through.wait()
        return promise.value

    def _read(self, reply: Any, msgid: int) -> tuple[Response, Any]:
        """The reply's message, and what came beside it.

        Raises:
            WorkerDied, ProtocolError: there is none.
        """
        if isinstance(reply, BaseException) and api.broken_by_itself(reply):
            raise self.object(f"its calls fail: {api.failure(reply)}")
        if reply is None or isinstance(reply, BaseException):
            if reply is not None:
                self.note_death(reply)
            raise self._named(
                WorkerDied(f"the worker ended while the call was running: {self.reason}", stage="call")
            )
        frame, lent = reply if type(reply) is tuple else (reply, ())
        try:
            (message,) = self.decode(frame)
        except (ProtocolError, ValueError) as error:
            raise self.object(f"its reply is none: {error}") from None
        if type(message) is not Response or message.msgid != msgid:
            raise self.object("its reply is to another call")
        return message, lent

    def _is_answer(self, value: Any) -> bool:
        """Whether the worker has answered after all, with something else than that it has cancelled the call."""
        if type(value) is not bytes:
            return type(value) is tuple
        messages = self.decode(value)
        return not any(type(each) is Response and was_cancelled(each) for each in messages)

    # -- what a talk calls

    def pull(self, msgid: int, told: Callable[[Any], object]) -> Any:
        """Have a function told what this call says next; the result must be kept until then."""
        ref = self._actor.pull(msgid)
        self._bridge.watch(ref, told)
        return ref

    def decode(self, frames: Any) -> list[Message]:
        """The messages in what came, whole.

        Raises:
            ProtocolError, ValueError: it holds something else.
        """
        if type(frames) is not bytes:
            raise ValueError(f"{type(frames).__name__} in place of a frame")
        messages = self._decoder.feed(frames)
        if self._decoder.error is not None:
            raise self._decoder.error
        return messages

    def recall(self) -> bool:
        return self._calls.recall()

    def tell_answers(self, told: Callable[[int, float], object]) -> None:
        self._answers = told

    def _revoke(self, msgids: list[int]) -> None:
        ref = self._actor.tell(encode_notify("folk.revoke", {"msgids": msgids}))
        self._revoking[msgids[0]] = ref
        self._bridge.watch(ref, partial(self._hear_revoked, msgids[0]))

    def _hear_revoked(self, asked: int, value: Any) -> None:
        self._revoking.pop(asked, None)
        if isinstance(value, BaseException):
            return  # it is dead, which is noticed elsewhere
        try:
            (message,) = self.decode(value)
            self._calls.take_back(*revoked(getattr(message, "params", None)))
        except (ProtocolError, ValueError) as error:
            self.object(str(error))

    def tell(self, method: str, params: object) -> bool:
        """Tell the worker something of a running call."""
        self._actor.tell(encode_notify(method, params))
        return True

    async def post(self, method: str, params: object) -> None:
        """Tell it something that is long, and that it has asked for."""
        self.tell(method, params)
        await trio.lowlevel.checkpoint()

    def cancel(self, msgid: int) -> bool:
        """Tell the worker that nobody wants this answer."""
        return self.tell("folk.cancel", {"msgid": msgid})

    # -- ends

    def terminate(self, reason: str, rung: Rung = Rung.STOP) -> None:
        if not self.condemned.is_set():
            self.planned = True
            self.condemn(reason, rung)
            self._calls.recall()
        self._cut(held=False)
        self._raise_to(rung)

    def fence(self, reason: str) -> None:
        """Its node is not heard of: whatever it does from now on, nobody hears of it."""
        self._lost(self.node)
        self.condemn(reason, Rung.KILL)
        self._cut()

    def refuse(self, error: BootFailed) -> None:
        """It does not become ready, for this reason."""
        if not self._ready and self._refusal is None:
            self._refusal = self._named(error)
            self.terminate("it did not become ready", Rung.TERMINATE)

    def hear_ready(self, value: Any) -> None:
        """What the worker says first has come, or why nothing will."""
        if isinstance(value, BaseException):
            self.note_death(value)
            return
        try:
            frame, self.node = value
            (message,) = self.decode(frame)
            said = understood(message)
        except (ProtocolError, ValueError) as error:
            self.object(f"its first message is none: {error}")
            return
        if isinstance(said, Announcement):
            self._become_ready(said)
        else:
            self._hear_refusal(said)

    def note_death(self, value: BaseException) -> None:
        """Ray says that the worker is dead, or that it cannot be reached."""
        told = api.failure(value)
        if not api.is_death(value):
            self.condemn(f"Ray lost touch with it: {told}", Rung.KILL)
            return
        if not self.gone.is_set():
            self.exit = WorkerExit(detail=f"Ray says: {told}")
            self._gone_at = trio.current_time()
            self.condemn(f"Ray says: {told}")
            self.gone.set()

    def note_end(self) -> None:
        """The worker is gone, or is no longer waited for."""
        self.condemn("it ended")
        self._cut()
        self.ended.set()

    async def settle_held(self) -> None:
        """Before it is killed: what it holds may have come back, and runs elsewhere."""
        await self._calls.wait_settled(RECALL)

    def _cut(self, *, held: bool = True) -> None:
        self._calls.cut(held=held)
        for talk in self._talks:
            talk.end()

    def _become_ready(self, said: Announcement) -> None:
        if not self.condemned.is_set():
            self.concurrency = said.concurrency
            self.features = said.features
            self.holds = said.features >= {"order", "revoke"}
            self._ready = True
            self._said.set()

    def _hear_refusal(self, said: Refusal) -> None:
        failure = BootFailed(said.message, stage="boot")
        failure.remote_traceback = said.remote_traceback
        self.refuse(failure)

    def object(self, reason: str) -> ProtocolError:
        """The worker said what cannot be true; the error for whoever asked."""
        self.condemn(f"it broke the protocol: {reason}", Rung.TERMINATE)
        self._cut()
        return self._named(ProtocolError(reason))

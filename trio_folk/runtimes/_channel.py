"""The parent's end of a task channel: requests go out, replies find their callers, and nobody else's.

A task of its own between the socket and each caller would cost every call two more switches. So the callers
read for themselves: whoever waits first reads for all, and hands the reading on when its own reply has come.

Invariants
    1. A reply reaches the caller whose msgid it carries, once, or it breaks the channel.
    2. Once closed, nothing is read from the socket before the worker is dead, and no call is sent.
    3. A call that ends with NotStarted was not begun: it was not read whole, it was given back, or the worker died
       that begins its calls in their order, and had not answered an older one.
    4. Calls, and what must precede them, are sent in the order in which they got their msgids: the newest is
       the one that a death can leave unread.
    5. Nothing is read while nobody waits, so before a call is sent the idle socket is looked at: whatever lies
       there answers no call, and an end of file there means the call can go elsewhere unharmed.

Knows a socket and the wire. Does not know processes, workers' lives, or what a call means.
Picture: docs/design/pipelining.md
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from time import perf_counter

import trio

from .._errors import ProtocolError
from .._wire import Message, MessageDecoder, Notify, Response, next_msgid
from ..abc import NotStarted
from ._jobs import Told, WireJob
from ._outbox import Outbox
from ._outstanding import Outstanding
from ._talk import Talk
from ._waiting import CallWait, ChannelBroken

__all__ = ["ChannelBroken", "TaskChannel", "was_cancelled"]

_RECEIVE = 65536  # bytes; larger buffers cost more to make than they save on small replies
CANCELLED = -32800
FAIRNESS = 0.0002
"""Seconds of real time that one caller may go on calling without another task getting its turn."""
CROWD = 8
"""Calls that come alone, after which each one is sent at once again, and not at the end of its tick."""
RECALL = 1.0
"""Seconds that a worker has to say whether it gives back the call of a caller who was cancelled."""


def was_cancelled(reply: Response) -> bool:
    """Whether the worker says that it cancelled the call."""
    return isinstance(reply.error, dict) and reply.error.get("code") == CANCELLED


class TaskChannel:
    """Calls over one socket, as many at once as its owner gives it.

    Args:
        sock: the parent's end, non-blocking; owned by whoever made the channel.
        limit: the longest frame in bytes, inclusive.
        on_end: told once, when the worker ended the channel (None) or broke the protocol (the error).

    Attributes:
        cancel: asks the worker to end the call with this msgid, and says how long it has for that; or None.
        on_answers: told of the replies of an orderly worker; see `WorkerHandle.on_answers`.
        told: what the worker was told besides its calls.
    """

    def __init__(
        self, sock: socket.socket, limit: int, on_end: Callable[[ProtocolError | None], None]
    ) -> None:
        self._sock = sock
        self._limit = limit
        self._on_end = on_end
        self._decoder = MessageDecoder(limit)
        self._outbox: Outbox[CallWait] = Outbox(sock)
        self._calls = Outstanding(self._wake)
        self.told = Told()
        self._last_msgid = 0
        self._reader: CallWait | None = None
        self._heir: CallWait | None = None  # was woken to read next
        self._pump: trio.lowlevel.Task | None = None  # parked, while there is nothing to send
        self._switched = 0.0
        self._crowd = 0  # how many more calls are sent as if there were many of them
        self._begun = 0  # bytes of a frame whose end has not come
        self._since = 0.0  # when the oldest call began, or the last reply came
        self._look = select.poll()
        self._look.register(sock, select.POLLIN)
        self.cancel: Callable[[int], float] | None = None
        self._revoke: Callable[[list[int]], bool] | None = None
        self.on_answers: Callable[[int, float], object] | None = None
        self.open = True
        self.abandoned = False
        self.error: ProtocolError | None = None

    @property
    def revoke(self) -> Callable[[list[int]], bool] | None:
        """Asks the worker to give back the calls with these msgids; whether it could be asked. None where the worker
        does not begin its calls in their order."""
        return self._revoke

    @revoke.setter
    def revoke(self, ask: Callable[[list[int]], bool] | None) -> None:
        self._revoke = ask
        self._calls.orderly = ask is not None

    @property
    def running(self) -> int:
        """How many callers wait for a reply."""
        return sum(not call.over for call in self._calls.values())

    def send(self, job: WireJob | Talk, remaining: float | None = None) -> Response | CallWait:
        """Send a job. If it was answered while it was sent, this is the reply; else `wait` for that, at once.

        Args:
            job: what to send.
            remaining: seconds until the caller gives up; None where the worker takes no circumstances.

        Raises:
            NotStarted: the channel is closed.
            TypeError, FrameTooLarge: it cannot be encoded; nothing was sent.
        """
        if not self._calls and self.open and self._look.poll(0):
            self._receive()  # invariant 5
        if not self.open:
            raise NotStarted
        msgid = next_msgid(self._last_msgid)
        frame = job.encode(msgid, self._limit, remaining)
        preface = job.preface(self.told, self._limit) if job.prefaced else b""
        self._last_msgid = msgid
        call = CallWait(msgid)
        if type(job) is Talk:
            call.hear, call.cancel = job.hear, job.cancel
        busy = self._crowd > 0 or bool(self._calls or self._outbox)
        self._calls[msgid] = call
        try:
            if busy:
                if preface:
                    self._outbox.add(preface, CallWait(msgid))  # stays, should the call be withdrawn
                self._post(frame, call, job)
                return call
            self._send(preface + frame if preface else frame, call, job)
            # It answers while we send: the common case where both share a CPU.
            answered = call.fate is None and self._reader is None and self._receive()
        except BaseException:  # a KeyboardInterrupt
            self._abandon(call)
            raise
        if answered and call.reply is not None and self._since - self._switched <= FAIRNESS:
            return call.reply
        return call

    async def wait(self, call: CallWait) -> Response:
        """The reply to a call that was sent.

        Raises:
            NotStarted: the worker has not begun it, and will not.
            ChannelBroken: the channel ended, or was closed, when it may have.
            ProtocolError: the worker sent something that is not a reply to any call.

        Always a checkpoint. Cancellation: a call that the worker only holds is taken back. For any other the worker is
        asked to end it, and what it then answers is returned. If it does not answer in time, or cannot be asked, the
        channel is `abandoned`: its owner must close it.
        """
        try:
            if call.over:
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._switched = perf_counter()
            else:
                await self._reply_or_leave(call)
        except BaseException:
            self._abandon(call)
            raise
        if call.reply is None:
            if call.fate is NotStarted:
                raise NotStarted
            raise self.error or ChannelBroken
        return call.reply

    async def pump(self) -> None:
        """Send what waits in the outbox, for as long as the channel is open. Without it only idle workers get calls.

        Cancellation leaves there what waits there.
        """
        while self.open:
            try:
                while not self._outbox.flush():
                    await trio.lowlevel.wait_writable(self._sock)
            except trio.ClosedResourceError:
                continue  # it was closed, or whoever reads was woken
            except OSError:
                self._fail()
                return
            self._pump = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._unpump)

    def recall(self) -> bool:
        """Ask for the calls that have not begun; each one given back ends with NotStarted. Whether there are any."""
        return self.revoke is not None and self._calls.recall(self.revoke)

    def take_back(self, given_back: Iterable[int], late: Iterable[int]) -> None:
        """See `Outstanding.take_back`."""
        self._calls.take_back(given_back, late)

    def half_close(self) -> None:
        """Let the worker see the end of file; replies still come."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the worker was faster

    def close(self) -> None:
        """End the call that runs, and what was not sent. What the worker holds waits for its death, or for `give_up`:
        until then it may begin that."""
        if not self.open:
            return
        self._shut()
        self._calls.end_begun()

    def close_after_death(self) -> None:
        """Read what the dead worker still managed to answer, then end the others."""
        while self._receive():
            continue
        self._shut()
        self._calls.judge()

    def give_up(self) -> None:
        """Nobody will ever know what became of the calls that still wait."""
        self.close()
        self._calls.give_up()

    # -- sending

    def _send(self, frame: bytes, call: CallWait, job: WireJob | Talk) -> None:
        """To an idle worker: at once."""
        if job.begun is not None:
            job.begun()
        self._since = perf_counter()
        try:
            if not self._outbox.send(frame, call):
                self._wake_pump()
        except OSError:
            self._fail()

    def _post(self, frame: bytes, call: CallWait, job: WireJob | Talk) -> None:
        """To a busy one: together with whatever else is posted in this tick."""
        if job.begun is not None:
            if not self._calls.orderly:
                job.begun()
            else:
                call.begun = job.begun
        if len(self._calls) == 1:
            self._since = perf_counter()
        self._outbox.add(frame, call)
        if self._pump is not None:
            self._wake_pump()

    def _wake_pump(self) -> None:
        if self._pump is not None:
            trio.lowlevel.reschedule(self._pump)
            self._pump = None

    def _unpump(self, _: object) -> trio.lowlevel.Abort:
        self._pump = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _fail(self) -> None:
        """Nothing can be sent: the worker's end of the socket is closed."""
        while self.open and self._receive():
            continue
        self._ended()

    # -- waiting

    def _abandon(self, call: CallWait) -> None:
        if not call.over:
            self.abandoned = True
            call.fate = ChannelBroken

    async def _reply_or_leave(self, call: CallWait) -> None:
        try:
            if self._reader is not None:  # no need to look at more, on the path of most calls
                call.parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(call.unpark)
            if call.reply is None:
                await self._reply_to(call)
        except trio.Cancelled:
            if not call.over:
                await self._leave(call)
            if call.reply is None:
                raise

    async def _leave(self, call: CallWait) -> None:
        """The caller wants no reply any more. If the call is not over when this returns, the worker must be ended."""
        if not call.sent and not call.recalled and self._outbox.withdraw(call):
            call.fate = NotStarted
            del self._calls[call.msgid]
        elif self._calls.holds(call.msgid):
            await self._have_given_back(call)
        cancel = call.cancel or self.cancel
        if not call.over and cancel is not None:
            await self._reply_within(cancel(call.msgid), call)

    async def _have_given_back(self, call: CallWait) -> None:
        """Return when the worker has said whether it gives it back, or its time is over."""
        if call.recalled or (self.revoke is not None and self.revoke([call.msgid])):
            call.recalled = call.leaving = True
            await self._reply_within(RECALL, call)
            call.leaving = False

    async def _reply_within(self, seconds: float, call: CallWait) -> None:
        if seconds > 0:
            with trio.CancelScope(deadline=trio.current_time() + seconds, shield=True):
                await self._reply_to(call)

    async def _reply_to(self, call: CallWait) -> None:
        while not call.done:
            if self.open and self._reader is None and (self._heir is None or self._heir is call):
                self._heir, self._reader = None, call
                try:
                    await self._read_for(call)
                finally:
                    self._reader = None
                    self._hand_on()
            else:
                call.parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(call.unpark)
        if self._heir is call:  # something became of it before its turn to read came
            self._hand_on()

    async def _read_for(self, call: CallWait) -> None:
        while self.open and not call.done:
            if self._receive() is None:
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except trio.ClosedResourceError:
                    continue  # it was closed, or something has become of the call
                self._switched = perf_counter()

    def _wake(self, call: CallWait) -> None:
        if call is self._reader:
            trio.lowlevel.notify_closing(self._sock)  # nothing else wakes whoever waits for a socket
        else:
            call.wake()

    def _hand_on(self) -> None:
        """Whoever still waits for a reply reads next."""
        self._heir = None
        for call in self._calls.values():
            if call.parked is not None:
                self._heir = call
                call.wake()
                return

    # -- replies

    def _receive(self) -> bool | None:
        """Take in what is there: True if there was something, None if not yet, False at the end."""
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # unix(7) sockets: the peer closed with data unread, so the last request never was a whole frame there
            newest = self._outbox.newest
            if newest is not None and not newest.over:
                newest.fate = NotStarted
            data = b""
        except OSError:
            data = b""
        if not data:
            self._ended()
            return False
        try:
            self._deliver(data)
        except ProtocolError as error:
            self._ended(error)
            return False
        return True

    def _deliver(self, data: bytes) -> None:
        messages = self._decoder.feed(data)
        calls = self._calls
        replies = len(messages)
        for message in messages:
            if type(message) is not Response:
                came = self._begun + len(data) - self._decoder.buffered
                self._hear(message, came // len(messages))
                replies -= 1
                continue
            msgid = message.msgid
            if calls.orderly and calls and msgid != next(iter(calls)):
                calls.pass_over(msgid)
            call = calls.pop(msgid, None)
            if call is None:
                raise ProtocolError(f"a reply to call {msgid}, which nobody waits for")
            if call.fate is None:
                call.reply = message
                if call.parked is not None:
                    call.wake()
        if replies:
            self._go_on(replies)
        self._begun = 0
        if not self._decoder.clean:
            self._begun = self._decoder.buffered
            self._object_to_the_rest()

    def _hear(self, message: Message, size: int) -> None:
        """Something else than a reply: it belongs to a call that was asked for it, and was not answered."""
        if type(message) is Notify and type(message.params) is list and message.params:
            msgid = message.params[0]
            call = self._calls.get(msgid) if type(msgid) is int else None
            if call is not None and call.hear is not None:
                if not call.over:
                    call.hear(message.method, message.params, size)
                return
        raise ProtocolError(
            f"a worker sends only replies on its task channel, and what it was asked for; not {message!r:.200}"
        )

    def _go_on(self, count: int) -> None:
        """So many calls were answered; of an orderly worker the oldest of the others has begun."""
        now = perf_counter()
        self._crowd = CROWD if count > 1 or self._calls else self._crowd - 1
        if self.on_answers is not None:
            self.on_answers(count, now - self._since)
        self._since = now
        if self._calls:
            self._calls.begin_next()

    def _object_to_the_rest(self) -> None:
        """The beginning of a reply may lie there; nothing else may."""
        if self._decoder.error is not None:
            raise self._decoder.error
        if not self._calls:
            raise ProtocolError("bytes that answer no call")

    # -- the end

    def _ended(self, error: ProtocolError | None = None) -> None:
        """The worker has closed its end, so that all it had to say was read; or it talks nonsense."""
        if not self.open:
            return
        self.error = error
        if error is None:
            self._shut()
            self._calls.judge()
        else:
            self.give_up()
        self._on_end(error)

    def _shut(self) -> None:
        if not self.open:
            return
        self.open = False
        if self._reader is not None or self._outbox:
            trio.lowlevel.notify_closing(self._sock)
        self._outbox.clear()
        self._wake_pump()

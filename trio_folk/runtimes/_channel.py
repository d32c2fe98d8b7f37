"""The parent's end of a task channel: requests go out, replies find their callers, and nobody else's.

A task of its own between the socket and each caller would cost every call two more switches. So the callers
read for themselves: whoever waits first reads for all, and hands the reading on when its own reply has come.

Invariants
    1. A reply reaches the caller whose msgid it carries, once, or it breaks the channel.
    2. Once closed, nothing is read from the socket that could reach a caller.
    3. A call that ends with NotStarted was not read whole by the worker.
    4. Calls, and what must precede them, are sent in the order in which they got their msgids: the newest is
       the one that a death can leave unread.
    5. Nothing is read while nobody waits, so before a call is sent the idle socket is looked at: whatever lies
       there answers no call, and an end of file there means the call can go elsewhere unharmed.

Knows a socket and the wire. Does not know processes, workers' lives, or what a call means.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from time import perf_counter

import trio

from .._errors import ProtocolError
from .._wire import MessageDecoder, Response, next_msgid
from ..abc import NotStarted
from ._jobs import WireJob

__all__ = ["ChannelBroken", "TaskChannel", "was_cancelled"]

_RECEIVE = 65536  # bytes; larger buffers cost more to make than they save on small replies
CANCELLED = -32800
FAIRNESS = 0.0002
"""Seconds of real time that one caller may go on calling without another task getting its turn."""


class ChannelBroken(Exception):
    """The channel ended while the call was, or may have been, running."""


class _Call:
    """One caller's wait for one reply. Its defaults belong to the class: most calls change one of them."""

    reply: Response | None = None
    broken = False
    sent = False  # the worker may have seen some of it
    unread = False  # the worker died without having read all of it
    task: trio.lowlevel.Task | None = None  # parked, while another caller reads

    @property
    def over(self) -> bool:
        return self.reply is not None or self.broken

    def wake(self) -> None:
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)
            self.task = None


def was_cancelled(reply: Response) -> bool:
    """Whether the worker says that it cancelled the call."""
    return isinstance(reply.error, dict) and reply.error.get("code") == CANCELLED


class TaskChannel:
    """Calls over one socket, as many at once as the worker declared.

    Args:
        sock: the parent's end, non-blocking; owned by whoever made the channel.
        limit: the longest frame in bytes, inclusive.
        on_end: told once, when the worker ended the channel (None) or broke the protocol (the error).
    """

    def __init__(
        self, sock: socket.socket, limit: int, on_end: Callable[[ProtocolError | None], None]
    ) -> None:
        self._sock = sock
        self._limit = limit
        self._on_end = on_end
        self._decoder = MessageDecoder(limit)
        self._calls: dict[int, _Call] = {}
        self._told: set[int] = set()
        self._last_msgid = 0
        self._reader: _Call | None = None
        self._sending = False
        self._switched = 0.0
        self._turn = trio.lowlevel.ParkingLot()
        self._look = select.poll()
        self._look.register(sock, select.POLLIN)
        self.open = True
        self.abandoned = False
        self.error: ProtocolError | None = None

    @property
    def running(self) -> int:
        """How many calls were sent and not answered."""
        return len(self._calls)

    async def request(
        self, job: WireJob, remaining: float | None = None, cancel: Callable[[int], float] | None = None
    ) -> Response:
        """Send a job and return its reply.

        Args:
            job: what to send.
            remaining: seconds until the caller gives up; None where the worker takes no circumstances.
            cancel: asks the worker to end the call with this msgid, and says how long it has for that.

        Raises:
            NotStarted: the channel ended before the whole request was sent.
            ChannelBroken: it ended, or was closed, afterwards.
            ProtocolError: the worker sent something that is not a reply to any call.

        Cancellation: the worker is asked to end the call, and what it then answers is returned. If it does not answer
        in time, or cannot be asked, the channel is `abandoned`: its owner must close it.
        """
        if not self._calls and self.open and self._look.poll(0):
            self._receive()  # invariant 5
        if self._sending:
            await self._turn.park()  # until whoever sent before hands its turn on, or the channel is closed
        if not self.open:
            raise NotStarted
        self._sending = True
        msgid = next_msgid(self._last_msgid)
        call = _Call()
        try:
            try:
                frames = job.encode(msgid, self._told, self._limit, remaining)
                self._last_msgid = msgid
                self._calls[msgid] = call
                sent = self._send(frames, call)
                if sent < len(frames):
                    await self._send_rest(frames, sent, call)
            finally:
                if self._turn:
                    self._turn.unpark()  # it is sending now: nobody gets in between (invariant 4)
                else:
                    self._sending = False
            if self._reader is None and self._receive() and call.reply is not None:
                # It answered while we sent: the common case where both share a CPU.
                if self._calls:
                    self._hand_on()  # the answer may have been that of the one who was to read next
                if perf_counter() - self._switched > FAIRNESS:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    self._switched = perf_counter()
            elif cancel is None:
                await self._reply_to(call)
            else:
                await self._reply_or_end(msgid, call, cancel)
        except BaseException:
            self.abandoned = self.abandoned or (call.sent and not call.over)
            raise
        finally:
            self._calls.pop(msgid, None)
        if call.reply is None:
            if call.unread:
                raise NotStarted
            raise self.error or ChannelBroken
        return call.reply

    def half_close(self) -> None:
        """Let the worker see the end of file; replies still come."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the worker was faster

    def close(self) -> None:
        """End every call that still waits; nothing more is read."""
        if not self.open:
            return
        self.open = False
        for call in self._calls.values():
            call.broken = True
            call.wake()
        self._turn.unpark_all()
        if self._reader is not None or self._sending:
            trio.lowlevel.notify_closing(self._sock)

    def close_after_death(self) -> None:
        """Read what the dead worker still managed to answer, then close."""
        self._drain()
        self.close()

    def _send(self, frames: bytes | memoryview, call: _Call) -> int:
        """Send what the socket takes now; how much that was."""
        call.sent = True
        try:
            return self._sock.send(frames)
        except BlockingIOError:
            return 0
        except OSError:
            self._drain()
            self._ended()
            raise NotStarted from None  # a frame cut short is none: invariant 3

    async def _send_rest(self, frames: bytes, sent: int, call: _Call) -> None:
        """Send what is left. Meanwhile others wait for their turn: the frames of two calls are never mixed."""
        rest = memoryview(frames)[sent:]
        try:
            while rest:
                await trio.lowlevel.wait_writable(self._sock)
                rest = rest[self._send(rest, call) :]
        except trio.ClosedResourceError:
            raise NotStarted from None

    async def _reply_or_end(self, msgid: int, call: _Call, cancel: Callable[[int], float]) -> None:
        try:
            await self._reply_to(call)
        except trio.Cancelled:
            grace = cancel(msgid)
            if grace > 0:
                with trio.CancelScope(deadline=trio.current_time() + grace, shield=True):
                    await self._reply_to(call)
            if call.reply is None:
                raise

    async def _reply_to(self, call: _Call) -> None:
        while not call.over:
            if self._reader is None:
                self._reader = call
                try:
                    await self._read_until_over(call)
                finally:
                    self._reader = None
                    self._hand_on()
            else:
                call.task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(lambda _: self._unpark(call))

    async def _read_until_over(self, call: _Call) -> None:
        while not call.over:
            if self._receive() is None:
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except trio.ClosedResourceError:
                    return  # close() woke us, and has said what becomes of the call
                self._switched = perf_counter()

    def _unpark(self, call: _Call) -> trio.lowlevel.Abort:
        call.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _hand_on(self) -> None:
        """Whoever still waits for a reply reads next."""
        for call in self._calls.values():
            if call.task is not None:
                call.wake()
                return

    def _receive(self) -> bool | None:
        """Take in what is there: True if there was something, None if not yet, False at the end."""
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # unix(7) sockets: the peer closed with data unread, so the last request never was a whole frame there
            for call in reversed(self._calls.values()):
                call.unread = True
                break
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

    def _drain(self) -> None:
        """Take in all that is there, and wait for nothing."""
        while self.open and self._receive():
            continue

    def _deliver(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            if type(message) is not Response:
                raise ProtocolError(f"a worker sends only replies on its task channel, not {message!r:.200}")
            call = self._calls.pop(message.msgid, None)
            if call is None:
                raise ProtocolError(f"a reply to call {message.msgid}, which nobody waits for")
            call.reply = message
            call.wake()
        if not self._decoder.clean:
            self._object_to_the_rest()

    def _object_to_the_rest(self) -> None:
        """The beginning of a reply may lie there; nothing else may."""
        if self._decoder.error is not None:
            raise self._decoder.error
        if not self._calls:
            raise ProtocolError("bytes that answer no call")

    def _ended(self, error: ProtocolError | None = None) -> None:
        if self.open:
            self.error = error
            self.close()
            self._on_end(error)

"""The control channel: a worker or a zygote says that it is ready, or why it cannot be; its silence ends with it.

Knows the wire's notifications. Does not know what a call is, nor processes or slots.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import attrs
import trio

from .._errors import ProtocolError
from .._wire import Message, MessageDecoder, Notify, encode_notify
from ..worker._descriptors import Descriptors

__all__ = ["Announcement", "ControlChannel", "Refusal", "fork_ready", "revoked", "understood"]

_RECEIVE = 4096  # bytes: a control message is short
_TEXT = 65536  # characters of a worker's own message or traceback that are kept


@attrs.frozen
class Announcement:
    """What a worker said of itself when it became ready. Its pid is informative, and never trusted."""

    concurrency: int = 1
    features: frozenset[str] = frozenset()


@attrs.frozen
class Refusal:
    """Why a worker said that it cannot serve."""

    message: str
    remote_traceback: str | None = None


class ControlChannel:
    """The parent's end of descriptor 4, owned by whoever made it.

    Attributes:
        descriptors: what came with messages; only taken in once somebody has set this, and else lost.
    """

    descriptors: Descriptors | None = None

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._hear: Callable[[Notify], object] | None = None
        self._decoder = MessageDecoder(limit)
        self._rest = memoryview(b"")  # of a message that the socket has taken a part of
        self._turn = trio.Lock()
        self._posting = trio.CancelScope()  # one after another: a scope is entered once
        self._abandoned = False

    async def first(self) -> Announcement | Refusal | None:
        """What the worker's first message says, or None if it closed the channel before.

        Raises:
            ProtocolError: it said something else.
        """
        for message in await self.receive():
            return understood(message)
        self._decoder.close()
        return None

    async def listen(self, hear: Callable[[Notify], object]) -> None:
        """Hand each notification to `hear`, until the end of file.

        Raises:
            ProtocolError: what came is not the protocol. So does whatever `hear` raises.
        """
        self._hear = hear
        while messages := await self.receive():
            self._deliver(messages)

    def look(self) -> None:
        """Hand on what is there already, and wait for nothing; for those who need it before `listen` has its turn.

        Raises:
            ProtocolError: as `listen`.
        """
        try:
            while data := self._take():
                self._deliver(self._decoder.feed(data))
        except OSError:
            return  # nothing is there, or nothing will come: whoever waits for the end finds out

    async def receive(self) -> list[Message]:
        """The next messages; none at the end of file.

        Raises:
            ProtocolError: what came is not the protocol.
        """
        while data := await self._receive():
            if messages := self._decoder.feed(data):
                return messages
        return []

    def cancel(self, msgid: int) -> bool:
        """Tell the worker that nobody wants this answer; False if it does not listen."""
        return self.tell("folk.cancel", {"msgid": msgid})

    def revoke(self, msgids: list[int]) -> bool:
        """Ask the worker to give these calls back, if it has not begun them; False if it does not listen."""
        return self.tell("folk.revoke", {"msgids": msgids})

    def tell(self, method: str, params: object, descriptor: int | None = None) -> bool:
        """Send a message, with a descriptor where it is about one; False if the worker does not listen."""
        frame = encode_notify(method, params)
        try:
            if self._rest and not self._flush():
                return False
            if descriptor is None:
                return self._sock.send(frame) == len(frame)  # a channel that takes no whole frame is not read
            return socket.send_fds(self._sock, [frame], [descriptor]) == len(frame)
        except OSError:
            return False

    async def post(self, method: str, params: object) -> None:
        """Send a message that may be long, when there is room for it; to nobody, if the worker is gone.

        Cancellation: it is not sent; or, if a part of it was, the rest leaves before the next message.
        """
        frame = encode_notify(method, params)
        async with self._turn:
            with trio.CancelScope() as self._posting:
                await self._clear()
                self._rest = memoryview(b"" if self._abandoned else frame)
                await self._clear()

    def abandon(self) -> None:
        """Nothing is posted any more: whoever waits for room need not."""
        self._abandoned = True
        self._rest = memoryview(b"")
        self._posting.cancel()

    async def _clear(self) -> None:
        while not self._flush():
            await trio.lowlevel.wait_writable(self._sock)

    def _flush(self) -> bool:
        """Send what is left of a message; whether that was all. What nobody reads is gone."""
        try:
            while self._rest:
                self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            return False
        except OSError:
            self._rest = memoryview(b"")
        return True

    def _deliver(self, messages: list[Message]) -> None:
        for message in messages:
            if type(message) is Notify and self._hear is not None:
                self._hear(message)

    def _take(self) -> bytes:
        if self.descriptors is None:
            return self._sock.recv(_RECEIVE)
        return self.descriptors.receive(self._sock, _RECEIVE)

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._take()
            except BlockingIOError:
                continue
            except OSError:
                return b""


def understood(message: Message) -> Announcement | Refusal:
    """What a worker's first message says.

    Raises:
        ProtocolError: it says something else.
    """
    if isinstance(message, Notify):
        if message.method == "control.ready":
            return _announcement(message.params)
        if message.method == "folk.failed":
            return _refusal(message.params)
    raise ProtocolError(
        f"the first message on the control channel must be control.ready, not {message!r:.200}",
        hint="see docs/protocol.md, 'Control channel'",
    )


def fork_ready(message: Message) -> frozenset[str] | Refusal:
    """What a zygote's first message says: its features, or why it cannot fork.

    Raises:
        ProtocolError: it says something else.
    """
    if isinstance(message, Notify):
        if message.method == "control.fork-ready":
            return _features(message.method, _folk(message.params))
        if message.method == "folk.failed":
            return _refusal(message.params)
    raise ProtocolError(
        f"a zygote's first message must be control.fork-ready, not {message!r:.200}",
        hint="see docs/protocol.md, 'Fork masters'",
    )


def revoked(params: Any) -> tuple[list[int], list[int]]:
    """What the params of ``folk.revoked`` say: the calls that are given back, and those that had begun.

    Raises:
        ProtocolError: they are something else.
    """
    told = params if isinstance(params, dict) else {}
    lists = told.get("msgids"), told.get("late")
    for each in lists:
        if not isinstance(each, list) or not all(type(msgid) is int for msgid in each):
            raise ProtocolError(f"folk.revoked carries two arrays of msgids, not {params!r:.100}")
    return lists  # type: ignore[return-value]


def _announcement(params: Any) -> Announcement:
    folk = _folk(params)
    concurrency = folk.get("concurrency", 1)
    if type(concurrency) is not int or not 1 <= concurrency <= 65536:
        raise ProtocolError(
            f"control.ready announces a concurrency of {concurrency!r:.50}; it is an integer from 1"
        )
    return Announcement(concurrency, _features("control.ready", folk))


def _folk(params: Any) -> dict[Any, Any]:
    """What is announced beyond the base protocol."""
    folk = params.get("folk") if isinstance(params, dict) else None
    return folk if isinstance(folk, dict) else {}


def _features(method: str, folk: dict[Any, Any]) -> frozenset[str]:
    features = folk.get("features", [])
    if not isinstance(features, list) or not all(isinstance(each, str) for each in features):
        raise ProtocolError(f"{method} announces features that are not an array of strings")
    return frozenset(features)


def _refusal(params: Any) -> Refusal:
    """What the params of ``folk.failed`` say."""
    told = params if isinstance(params, dict) else {}
    message, trace = told.get("message"), told.get("traceback")
    return Refusal(
        message[:_TEXT] if isinstance(message, str) else "the worker said that it cannot serve",
        trace[-_TEXT:] if isinstance(trace, str) and trace else None,
    )

"""The control channel: the worker says that it is ready, or why it cannot be; its silence ends with it.

Knows the wire's notifications. Does not know calls, processes or slots.
"""

from __future__ import annotations

import socket
from typing import Any

import attrs
import trio

from .._errors import ProtocolError
from .._wire import Message, MessageDecoder, Notify

__all__ = ["Announcement", "ControlChannel", "Refusal", "refusal"]

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
    """The parent's end of descriptor 4, owned by whoever made it."""

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._decoder = MessageDecoder(limit)

    async def first(self) -> Announcement | Refusal | None:
        """What the worker's first message says, or None if it closed the channel before.

        Raises:
            ProtocolError: it said something else.
        """
        while True:
            data = await self._receive()
            if not data:
                self._decoder.close()
                return None
            for message in self._decoder.feed(data):
                return _understand(message)

    async def end(self) -> None:
        """Return at the end of file. Notifications that nobody asked for are ignored: newer workers may send them.

        Raises:
            ProtocolError: what came is not the protocol.
        """
        while data := await self._receive():
            self._decoder.feed(data)

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(_RECEIVE)
            except BlockingIOError:
                continue
            except OSError:
                return b""


def _understand(message: Message) -> Announcement | Refusal:
    if isinstance(message, Notify):
        if message.method == "control.ready":
            return _announcement(message.params)
        if message.method == "folk.failed":
            return refusal(message.params)
    raise ProtocolError(
        f"the first message on the control channel must be control.ready, not {message!r:.200}",
        hint="see docs/protocol.md, 'Control channel'",
    )


def _announcement(params: Any) -> Announcement:
    folk = params.get("folk") if isinstance(params, dict) else None
    if not isinstance(folk, dict):
        return Announcement()  # a worker of the base protocol
    concurrency = folk.get("concurrency", 1)
    features = folk.get("features", [])
    if type(concurrency) is not int or not 1 <= concurrency <= 65536:
        raise ProtocolError(
            f"control.ready announces a concurrency of {concurrency!r:.50}; it is an integer from 1"
        )
    if not isinstance(features, list) or not all(isinstance(each, str) for each in features):
        raise ProtocolError("control.ready announces features that are not an array of strings")
    return Announcement(concurrency, frozenset(features))


def refusal(params: Any) -> Refusal:
    """What the params of ``folk.failed`` say."""
    told = params if isinstance(params, dict) else {}
    message, trace = told.get("message"), told.get("traceback")
    return Refusal(
        message[:_TEXT] if isinstance(message, str) else "the worker said that it cannot serve",
        trace[-_TEXT:] if isinstance(trace, str) and trace else None,
    )

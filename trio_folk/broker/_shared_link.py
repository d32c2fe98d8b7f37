"""One connection to a shared pool's daemon: calls go out, replies find their callers.

Invariants
    1. At most as many calls are in the daemon as it said it takes; the others wait here.
    2. A frame is sent whole, whoever is cancelled meanwhile, or the connection is given up.
    3. When the connection ends, every call on it ends, and knows whether it was sent.

Knows a stream and the wire. Does not know pools, nor how the daemon is found.
"""

from __future__ import annotations

import math
from typing import Any

import trio

from .._errors import ProtocolError
from .._wire import (
    MAX_FRAME,
    MessageDecoder,
    Notify,
    Response,
    encode_notify,
    encode_request,
    next_msgid,
    pack,
)
from ._shared_terms import CANCEL, HELLO

__all__ = ["Link", "LinkBroken", "NotSent"]

SEND_BOUND = 60.0
"""Seconds that the daemon may take to read one frame; it always reads."""
CANCEL_BOUND = 10.0
"""Seconds that a cancelled caller waits until the daemon says that the work has ended."""


class LinkBroken(Exception):
    """The connection ended while the call was, or may have been, running."""


class NotSent(Exception):
    """The connection ended before the call was sent."""


class _Call:
    def __init__(self) -> None:
        self.over = trio.Event()
        self.reply: Response | None = None


class Link:
    """One connection; `run` is its life."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._calls: dict[int, _Call] = {}
        self._abandoned: set[int] = set()
        self._sending = trio.Lock()
        self._last = 0
        self._window: trio.Semaphore | None = None
        self.hello: dict[str, Any] = {}
        self.greeted = trio.Event()
        self.open = True

    async def run(self) -> None:
        """Read until the connection ends. Never raises for what the daemon does."""
        decoder = MessageDecoder(MAX_FRAME)
        try:
            async for data in self._stream:
                for message in decoder.feed(data):
                    self._take(message)
                if decoder.error is not None:
                    raise decoder.error
        except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError):
            return
        finally:
            self._end()
            await trio.aclose_forcefully(self._stream)

    async def request(self, method: str, params: dict[str, object]) -> Response:
        """Send a call and return its reply.

        Raises:
            NotSent: the connection ended before.
            LinkBroken: it ended afterwards.
            FrameTooLarge, TypeError: it cannot be sent.

        Cancellation: the daemon is told, and says when the work has ended.
        """
        await self.greeted.wait()
        if self._window is None:
            raise NotSent
        async with self._window:
            if not self.open:
                raise NotSent
            deadline = trio.current_effective_deadline()
            if deadline < math.inf:
                params = {**params, "remaining": max(deadline - trio.current_time(), 0.0)}
            self._last = msgid = next_msgid(self._last)
            frame = encode_request(msgid, method, pack(params), MAX_FRAME)
            call = self._calls[msgid] = _Call()
            try:
                if not await self._send(frame):
                    raise NotSent
                return await self._reply(msgid, call)
            finally:
                self._calls.pop(msgid, None)

    async def _reply(self, msgid: int, call: _Call) -> Response:
        try:
            await call.over.wait()
        except trio.Cancelled:
            with trio.CancelScope(deadline=trio.current_time() + CANCEL_BOUND, shield=True):
                await self._send(encode_notify(CANCEL, {"msgid": msgid}))
                await call.over.wait()
            if call.reply is None:
                self._abandoned.add(msgid)
            raise
        if call.reply is None:
            raise LinkBroken
        return call.reply

    async def _send(self, frame: bytes) -> bool:
        """Send a frame whole; False if the connection ended before that: a frame cut short is none."""
        async with self._sending:
            if not self.open:
                return False
            with trio.CancelScope(deadline=trio.current_time() + SEND_BOUND, shield=True):
                try:
                    await self._stream.send_all(frame)
                    return True
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._end()
                    return False
            self._end()  # it does not read: whoever is waiting must not wait for it
            await trio.aclose_forcefully(self._stream)
            return False

    def _take(self, message: object) -> None:
        if isinstance(message, Notify) and message.method == HELLO and isinstance(message.params, dict):
            window = message.params.get("window")
            if type(window) is not int or window < 1 or self.greeted.is_set():
                raise ProtocolError(f"a shared pool's greeting makes no sense: {message.params!r:.200}")
            self.hello = message.params
            self._window = trio.Semaphore(window)
            self.greeted.set()
        elif isinstance(message, Response):
            call = self._calls.get(message.msgid)
            if call is not None:
                call.reply = message
                call.over.set()
            elif message.msgid in self._abandoned:
                self._abandoned.discard(message.msgid)
            else:
                raise ProtocolError(f"a reply to call {message.msgid}, which nobody waits for")

    def _end(self) -> None:
        self.open = False
        self.greeted.set()
        for call in self._calls.values():
            call.over.set()

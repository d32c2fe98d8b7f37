"""The client's end: one connection a request, so that cancelling a request is closing it.

Knows frames and an endpoint. Does not know what is asked.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, final

import trio

from .._errors import BackendRefused, FolkError, ProtocolError
from .._wire import Message, MessageDecoder, Notify, Response, encode_request, pack
from ..broker._dial import Unreachable, dial
from ..broker._shared_terms import rebuild
from ._terms import ANSWER_FRAME, END, REFUSED, REQUEST_FRAME

__all__ = ["Notices", "ask", "subscribe"]

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for room in the queue of those who connect."""
_MSGID = 1


class _Link:
    """A connection to an admin socket, and the messages that have come and were not yet taken."""

    def __init__(self, path: str, stream: trio.SocketStream) -> None:
        self._path = path
        self._stream = stream
        self._decoder = MessageDecoder(ANSWER_FRAME)
        self._messages: list[Message] = []

    async def ask(self, method: str, params: Any) -> Any:
        frame = encode_request(_MSGID, method, pack(params), REQUEST_FRAME)
        with suppress(trio.BrokenResourceError):  # it may have said why before it left
            await self._stream.send_all(frame)
        answer = await self.next()
        while not isinstance(answer, Response) or answer.msgid != _MSGID:
            if isinstance(answer, Notify) and answer.method == REFUSED:
                _refused(answer.params)
            answer = await self.next()
        if answer.error is not None:
            raise rebuild(answer.error)
        return answer.result

    async def next(self) -> Message:
        while not self._messages:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise gone(self._path)
            self._messages = self._decoder.feed(data)
        return self._messages.pop(0)


@asynccontextmanager
async def _linked(path: str) -> AsyncIterator[_Link]:
    try:
        stream = await dial(path, deadline=trio.current_time() + CONNECT_TIMEOUT)
    except Unreachable as error:
        raise gone(path) from error
    async with stream:
        yield _Link(path, stream)


async def ask(path: str, method: str, params: Any) -> Any:
    """The answer to one question. Cancellation: what was asked for is cancelled there."""
    async with _linked(path) as link:
        return await link.ask(method, params)


@final
class Notices:
    """An async iterator over what a running pool tells, from `AdminClient.events` and `AdminClient.watch`.

    Ends when every pool that it tells of has closed.
    """

    def __init__(self, link: _Link, wanted: str, pools: int) -> None:
        self._link = link
        self._wanted = wanted
        self._pools = pools

    def __aiter__(self) -> Notices:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next one.

        Raises:
            FolkError: the program has gone.

        Cancellation: nothing is lost.
        """
        while self._pools:
            match await self._link.next():
                case Notify(method=method, params=dict(told)) if method == self._wanted:
                    return told
                case Notify(method=method) if method == END:
                    self._pools -= 1
        await trio.lowlevel.checkpoint()
        raise StopAsyncIteration


@asynccontextmanager
async def subscribe(path: str, method: str, params: Any, wanted: str, pools: int) -> AsyncIterator[Notices]:
    """What is told from now on. Cancellation, and leaving the block: nothing more is told."""
    async with _linked(path) as link:
        await link.ask(method, params)
        yield Notices(link, wanted, pools)


def gone(path: str) -> FolkError:
    """Nobody listens there, or not any more."""
    return FolkError(
        f"no pool answers on {path}",
        hint="its program serves it with `await nursery.start(admin.serve, pool)`, and may have ended",
    )


def _refused(told: Any) -> NoReturn:
    known = told if isinstance(told, dict) else {}
    again = known.get("retry_after")
    seconds = float(again) if isinstance(again, int | float) else math.inf
    raise BackendRefused(str(known.get("message", "the client was not let in")), "busy", seconds)


def breach(path: str, what: object) -> ProtocolError:
    """An answer that makes no sense."""
    return ProtocolError(f"the admin socket {path} answered with something else: {what!r:.200}")

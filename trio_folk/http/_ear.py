"""The ear: all that a client says during one request, from the first byte of its body to its departure.

One queue holds the pieces of a body and the news that the client has gone. Whoever stops reading it does not hear
the news, and a server that cannot deliver it cannot end the connection. So it is read as long as the request lasts.

Invariants
    1. No piece is read before the application wants it, but for the first; what nobody wants is thrown away.
    2. A body that is longer than allowed, or stops coming, is never taken for a whole one.

Knows ASGI's ``receive``. Does not know workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ._request import ClientGone, Refused

__all__ = ["Ear"]

QUIET = 1.0
"""Seconds without a word, after which a client whose response was cut off is not listened to any more."""


class Ear:
    """One client's side of one request; an asynchronous iterator of the pieces of its body.

    Args:
        receive: ASGI's.
        limit: bytes of the whole body.
        timeout: seconds for each piece.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]], limit: float, timeout: float) -> None:
        self._receive = receive
        self.limit = limit
        self._timeout = timeout
        self._size = 0
        self._let_go = trio.Event()
        self.complete = False
        self.gone = False

    async def first(self, enough: float) -> bytes:
        """The beginning of the body: so many bytes or a little more, or all of it.

        Raises:
            ClientGone, Refused: it did not come.
        """
        pieces: list[bytes] = []
        while not self.complete and self._size < enough:
            pieces.append(await self._next())
        return b"".join(pieces)

    def __aiter__(self) -> Ear:
        return self

    async def __anext__(self) -> bytes:
        if self.complete:
            raise StopAsyncIteration
        return await self._next()

    async def _next(self) -> bytes:
        try:
            with trio.fail_after(self._timeout):
                message = await self._receive()
        except trio.TooSlowError:
            raise Refused(408, "the body of the request did not come") from None
        if message["type"] != "http.request":
            self.gone = True
            raise ClientGone
        body: bytes = message.get("body", b"")
        self._size += len(body)
        if self._size > self.limit:
            raise Refused(413, f"the body of a request is at most {self.limit:,.0f} bytes")
        if not message.get("more_body", False):
            self.complete = True
            self._let_go.set()
        return body

    def let_go(self) -> None:
        """Nobody reads the body any more."""
        self._let_go.set()

    async def mind(self, on_gone: Callable[[], object]) -> None:
        """Once the body was read, or is not wanted, listen on; tell when the client has gone."""
        await self._let_go.wait()
        await self._drain()
        on_gone()

    async def linger(self) -> None:
        """Listen until the client has said all, or nothing for a while, so that the server can end the connection."""
        while not (self.complete or self.gone):
            with trio.move_on_after(QUIET) as scope:
                await self._step()
            if scope.cancelled_caught:
                return

    async def _drain(self) -> None:
        while not self.gone:
            await self._step()

    async def _step(self) -> None:
        message = await self._receive()
        if message["type"] != "http.request":
            self.gone = True
        elif not message.get("more_body", False):
            self.complete = True

"""The reply: one response on its way to one client, begun once and ended once, or cut off.

Invariants
    1. No more bytes of a body leave than its head has promised, and if fewer do, the client can tell.
    2. A client that does not take what it is sent counts as gone after the timeout.

Knows ASGI's ``send``. Does not know where responses come from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .._errors import ProtocolError
from ._request import ClientGone
from ._response import Head
from ._statuses import Outcome

__all__ = ["Reply"]

# Servers differ in what they raise; hypercorn closes a connection while another task of its own still sends.
_NOBODY_THERE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


class Reply:
    """One response.

    Args:
        send: ASGI's.
        method: of the request; the response to HEAD has no body.
        timeout: seconds for each piece.
    """

    def __init__(self, send: Callable[[Any], Awaitable[None]], method: str, timeout: float) -> None:
        self._send = send
        self._bodiless = method == "HEAD"
        self._timeout = timeout
        self._left: int | None = None  # bytes that the head has promised and that have not left
        self.begun = False
        self.complete = False

    async def whole(self, head: Head, body: bytes) -> None:
        """Send a response that is known as a whole.

        Raises:
            ProtocolError: its head promises another length; nothing was sent.
            ClientGone: the client does not take it.
        """
        await self.begin(head if self._bodiless else head.with_length(len(body)))
        await self.piece(body, last=True)

    async def begin(self, head: Head) -> None:
        """Send the head."""
        self.begun = True
        self._left = head.length
        await self._say({"type": "http.response.start", "status": head.status, "headers": head.headers})

    async def piece(self, data: bytes, *, last: bool = False) -> None:
        """Send the next piece of the body.

        Raises:
            ProtocolError: it is more than the head has promised, or with the last one less.
            ClientGone: the client does not take it.
        """
        if self._bodiless:
            data = b""
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (last and self._left):
                what = (
                    f"{-self._left} bytes more than"
                    if self._left < 0
                    else f"all but {self._left} bytes of what"
                )
                raise ProtocolError(f"a response of {what} its head promises")
        if data or last:
            self.complete = last
            await self._say({"type": "http.response.body", "body": data, "more_body": not last})

    async def outcome(self, outcome: Outcome) -> None:
        """Send what became of a request that has no response."""
        status, message, retry_after = outcome
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % retry_after))
        await self.whole(Head(status, headers, None), f"{message}\n".encode())

    async def _say(self, message: dict[str, Any]) -> None:
        try:
            with trio.fail_after(self._timeout):
                await self._send(message)
        except trio.TooSlowError:
            raise ClientGone from None
        except _NOBODY_THERE:
            raise ClientGone from None

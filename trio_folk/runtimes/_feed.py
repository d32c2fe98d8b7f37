"""A feed: bytes on their way to a running call, as many pieces as its worker has asked for.

Whoever uploads faster than a worker reads must wait where the bytes come from, and not fill anybody's memory. So a
piece leaves when the worker wants one, and whoever gives it waits until then.

Invariants
    1. No piece leaves that was not wanted, and none is longer than PIECE.
    2. The end leaves behind the last piece, and not before the worker has asked for the first: it may not have
       read the request yet, and what comes before that means nothing to it.

Knows pieces and how to post one. Does not know where the bytes come from, nor sockets.
Picture: docs/design/http.md
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from .._errors import ProtocolError

__all__ = ["MOST_WANTED", "PIECE", "Feed"]

PIECE = 65536
"""Bytes of a piece, at most."""
MOST_WANTED = 1024
"""Pieces that a worker may have asked for and not got; more is no bound any more."""

Post = Callable[[dict[str, object]], Awaitable[None]]


class Feed:
    """What one call is fed, on our side."""

    def __init__(self) -> None:
        self._wanted = 0
        self._begun = False
        self._lot = trio.lowlevel.ParkingLot()
        self._post: Post | None = None

    def begin(self, post: Post) -> None:
        """The call is being sent to a worker, which takes pieces by `post`."""
        self._post = post
        self._wanted, self._begun = 0, False

    def want(self, more: int) -> None:
        """The worker asks for so many more pieces.

        Raises:
            ProtocolError: it cannot mean that.
        """
        if not 0 < more <= MOST_WANTED - self._wanted:
            raise ProtocolError(f"folk.want asks for {more} pieces, and {self._wanted} more have not come")
        self._wanted += more
        self._begun = True
        self._lot.unpark_all()

    async def give(self, data: bytes) -> None:
        """Send these bytes, piece by piece, as they are wanted; none are the end."""
        with memoryview(data) as view:
            for start in range(0, len(view), PIECE):
                while not self._wanted or self._post is None:
                    await self._lot.park()
                self._wanted -= 1
                await self._post({"data": bytes(view[start : start + PIECE])})
        if not data:
            while not self._begun or self._post is None:
                await self._lot.park()
            await self._post({"end": True})

"""A stream's job: encoded once, as any call; and between the worker and whoever takes the items, their flow.

Knows the flow and its job. Does not know sockets, workers, or how credit travels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..abc import Stream
from ._feed import Feed, Post
from ._flow import FIRST, Flow
from ._jobs import MethodJob

__all__ = ["StreamJob"]


class StreamJob(MethodJob, Stream):
    """A named method that gives items.

    Args:
        method: its name.
        params: what it is called with.
        limit: the longest frame.
        window: how many items may be on the way or wait.
        feed: what it is given besides its params, if anything.

    Attributes:
        left: whether nobody wants more.
    """

    __slots__ = ("_flow", "_grant", "_window", "feed", "left", "sent")

    streams = True

    def __init__(
        self, method: str, params: object, limit: int, window: int, feed: Feed | None = None
    ) -> None:
        super().__init__(method, params, limit)
        self._window = window
        self.feed = feed
        self._flow = Flow(window)
        self._grant: Callable[[int], object] | None = None
        self.sent = self.left = False

    @property
    def waiting(self) -> int:
        return len(self._flow)

    def take(self) -> Any:
        value = self._flow.take()
        self._grant_what_is_due()
        return value

    def leave(self) -> None:
        self.left = True
        self._grant = None
        while self._flow:
            self._flow.take()

    async def give(self, data: bytes) -> None:
        if self.feed is None:
            await super().give(data)
        else:
            await self.feed.give(data)

    def value(self, result: Any) -> Any:
        self._grant = None
        return result

    def error(self, error: Any) -> Exception:
        self._grant = None
        return super().error(error)

    # -- what the talk with a worker calls

    def begin(self, grant: Callable[[int], object], post: Post) -> int:
        """It is being sent to a worker, which is told of further credit by `grant`, and is given what it is fed by
        `post`; returns the credit that it has at once."""
        self._flow = Flow(self._window)
        if self.feed is not None:
            self.feed.begin(post)
        self._grant = grant
        self.sent = True
        self._tell()
        return FIRST

    def put(self, value: Any, size: int) -> None:
        """An item has come, of about so many bytes.

        Raises:
            ProtocolError: the worker had no credit for it.
        """
        self._flow.put(value, size)
        if self.left:
            self._flow.take()
            return
        self._grant_what_is_due()
        self._tell()

    def _tell(self) -> None:
        if self.on_news is not None:
            self.on_news()

    def _grant_what_is_due(self) -> None:
        if self._grant is not None and (more := self._flow.due()):
            self._grant(more)

    def __repr__(self) -> str:
        return f"<StreamJob {self.method!r}, {len(self.params)} bytes, {self.waiting} items>"

"""A stream's job: encoded once, as any call; and between the worker and whoever takes the items, their flow.

Knows the flow and its job. Does not know sockets, workers, or how credit travels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..abc import Stream
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

    Attributes:
        left: whether nobody wants more.
    """

    __slots__ = ("_flow", "_grant", "_window", "left", "sent")

    streams = True

    def __init__(self, method: str, params: object, limit: int, window: int) -> None:
        super().__init__(method, params, limit)
        self._window = window
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

    def value(self, result: Any) -> None:
        self._grant = None

    def error(self, error: Any) -> Exception:
        self._grant = None
        return super().error(error)

    # -- what the talk with a worker calls

    def begin(self, grant: Callable[[int], object]) -> int:
        """It is being sent to a worker, which is told of further credit by `grant`; returns what it has at once."""
        self._flow = Flow(self._window)
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

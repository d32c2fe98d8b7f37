"""Reports: how far a call is, told as often as a person can use it, and never after its reply.

A loop that reports each of a million steps would spend its time on telling. So the first report goes at once, those
that follow within a moment are held back, and the newest of them goes with the next one or in front of the reply.

Invariants
    1. Nothing is told of a call once it was closed; what was held back is given to whoever closes it.
    2. Two threads that report write one after the other.

Knows numbers and frames. Does not know descriptors, nor who wants to know.
"""

from __future__ import annotations

import _thread
import time

from .._wire import encode_notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Reports"]

PAUSE = 0.05
"""Seconds between two reports."""


class Reports:
    """What one call has reported.

    Args:
        msgid: of the call.
        tell: called with this whenever a report should go out, in the thread that reported, and one at a time.
    """

    __slots__ = ("_due", "_lock", "_msgid", "_newest", "_over", "_tell")

    def __init__(self, msgid: int, tell: Callable[[Reports], object]) -> None:
        self._msgid = msgid
        self._tell = tell
        self._lock = _thread.RLock()  # `tell` takes what it tells
        self._newest: tuple[float, float | None] | None = None
        self._due = 0.0
        self._over = False

    def note(self, done: float, total: float | None) -> None:
        """The call is so far."""
        with self._lock:
            if self._over:
                return
            self._newest = done, total
            now = time.monotonic()
            if now >= self._due:
                self._due = now + PAUSE
                self._tell(self)

    def take(self) -> bytes:
        """The frame of the newest report, or nothing if that was told."""
        with self._lock:
            newest, self._newest = self._newest, None
        return encode_notify("folk.progress", [self._msgid, *newest]) if newest is not None else b""

    def close(self) -> bytes:
        """No more is told; returns what belongs in front of the reply."""
        with self._lock:
            self._over = True
            return self.take()

    def alone(self, write: Callable[[bytes], object], frame: bytes) -> None:
        """Write another frame of the call, and no report meanwhile."""
        with self._lock:
            write(frame)

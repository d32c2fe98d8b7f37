"""Feed: what a running call is given beyond its request, piece by piece, as it asks for it.

An upload of a gigabyte fits into no request, and a pool that sends as fast as it can fills the memory of a worker
that reads slowly. So pieces are asked for, some ahead of the one that is read, and none before the method reads.

Invariants
    1. No more pieces wait here than were asked for.
    2. What was cut off is never taken for the end: whoever reads then learns that nobody wants the call.
    3. Whatever is told between a look and the wait after it ends the wait.

Knows one lock and bytes. Does not know descriptors, or who sends the pieces.
Picture: docs/design/http.md
"""

from __future__ import annotations

import _thread
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["AHEAD", "Feed"]

AHEAD = 16
"""Pieces that are on the way or wait, at most: a megabyte."""


class Feed:
    """What one call is fed.

    Args:
        msgid: of its request.
        cancelled: the msgids of requests that nobody wants answered.

    Attributes:
        want: asks the pool for so many more pieces, in the thread that reads.
        stir: called by whoever told something; it wakes the one that waits.
    """

    __slots__ = ("_asked", "_cancelled", "_ended", "_gate", "_msgid", "_pieces", "stir", "want")

    def __init__(self, msgid: int, cancelled: Container[int]) -> None:
        self._msgid = msgid
        self._cancelled = cancelled
        self._pieces: deque[bytes] = deque()
        self._asked = 0  # pieces that were asked for and not taken from here
        self._ended = False
        self._gate = _thread.allocate_lock()
        self._gate.acquire()  # open is released: whoever passes closes it behind him
        self.want: Callable[[int], object] | None = None
        self.stir: Callable[[], object] = self._open

    @property
    def msgid(self) -> int:
        """Of the request."""
        return self._msgid

    @property
    def wanted(self) -> bool:
        """Whether anybody wants the call."""
        return self._msgid not in self._cancelled

    def put(self, piece: bytes) -> None:
        """The next piece has come. Called by the thread that reads the control channel."""
        self._pieces.append(piece)
        self.stir()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self.stir()

    def due(self) -> int:
        """How many pieces to ask for now, which count as asked for; none before it is worth a message."""
        more = AHEAD - self._asked
        if self._ended or more < AHEAD // 2:
            return 0
        self._asked += more
        return more

    def take(self) -> bytes | None:
        """The next piece, or nothing at the end; None while neither has come."""
        ended = self._ended  # before the look: the end comes behind the last piece
        try:
            piece = self._pieces.popleft()
        except IndexError:
            return b"" if ended else None
        self._asked -= 1
        return piece

    def wait(self) -> bytes | None:
        """The next piece, or nothing at the end; None as soon as nobody wants the call."""
        while self.wanted:
            if self.want is not None and (more := self.due()):
                self.want(more)
            piece = self.take()
            if piece is not None:
                return piece
            self._gate.acquire()
        return None

    def _open(self) -> None:
        try:
            self._gate.release()
        except RuntimeError:
            return  # it is open

"""Credit: how many items of one stream may leave, told by the control channel while the generator runs or waits.

Two threads meet here: one sends items, the other hears that there is room, or that nobody wants more. A wake-up that is
missed is a stream that hangs; a count that both change is a count that drifts.

Invariants
    1. Each number is written by one thread only.
    2. Whatever is told between a look and the wait after it ends the wait.

Knows one lock and numbers. Does not know items, generators or frames.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["Credit"]


class Credit:
    """The credit of one stream.

    Args:
        msgid: of its request.
        granted: how many items may leave before more are granted.
        cancelled: the msgids of requests that nobody wants answered.

    Attributes:
        ended: whether its reader said that he has had enough, rather than that he was cancelled.
        stir: called by whoever told something; it wakes the one that waits.
    """

    __slots__ = ("_cancelled", "_gate", "_granted", "_msgid", "_taken", "ended", "stir")

    def __init__(self, msgid: int, granted: int, cancelled: Container[int]) -> None:
        self._msgid = msgid
        self._granted = granted
        self._cancelled = cancelled
        self._taken = 0
        self._gate = _thread.allocate_lock()
        self._gate.acquire()  # open is released: whoever passes closes it behind him
        self.ended = False
        self.stir: Callable[[], object] = self._open

    @property
    def wanted(self) -> bool:
        """Whether anybody wants more items."""
        return self._msgid not in self._cancelled

    def grant(self, more: int) -> None:
        """So many more items may leave."""
        self._granted += more
        self.stir()

    def take(self) -> bool:
        """Take credit for one item; False if there is none."""
        if self._taken >= self._granted:
            return False
        self._taken += 1
        return True

    def wait(self) -> bool:
        """Take credit for one item, when there is some; False as soon as nobody wants more."""
        while self.wanted:
            if self.take():
                return True
            self._gate.acquire()
        return False

    def _open(self) -> None:
        try:
            self._gate.release()
        except RuntimeError:
            return  # it is open

"""Holding: how many calls a busy worker may have beyond the one it runs, and when it must give them back.

Calls of microseconds that each wait for the last one's way back leave workers idle most of the time. Calls of
seconds that were given ahead wait behind each other while other slots are idle. Which of the two they are, only
the last ones tell.

Invariants
    1. With ``"auto"`` a worker is given ahead what it will begin within PATIENCE, by the pace of its last calls.
    2. When nothing was answered for PATIENCE while calls are held, they are asked back: always with ``"auto"``; with a
       fixed number as soon as a worker is idle. Until the next answer the worker is given none ahead.
    3. Time is looked at only while calls are held.

Knows a handle's pace and numbers. Does not know dispatch or the wire.
Picture: docs/design/pipelining.md
"""

from __future__ import annotations

import math
from typing import Literal

from ..abc import WorkerHandle

__all__ = ["PATIENCE", "Holding"]

PATIENCE = 0.001
"""Seconds that a call may wait in a worker."""

MOST = 64
"""Calls that a worker has at most with ``"auto"``: twice what makes system calls a small part of a call's cost."""


class Holding:
    """What one worker may hold.

    Args:
        handle: the worker's; it gives calls back.
        prefetch: how many calls it may have, or ``"auto"``.

    Attributes:
        auto: whether that is measured; then what is stuck need not wait for an idle worker to be asked back.
        capacity: how many calls it may have now, the one that runs included.
        look_at: when to look whether a call is stuck, or inf.
    """

    def __init__(self, handle: WorkerHandle, prefetch: int | Literal["auto"]) -> None:
        self._handle = handle
        self.auto = prefetch == "auto"
        self._fixed = 1 if prefetch == "auto" else prefetch
        self._seen = 0  # answers, when it was last looked
        self._stuck = False
        self._alone = False
        self.capacity = self._fixed
        self.look_at = math.inf

    def adapt(self) -> None:
        """A call has ended."""
        if self._stuck:
            self._stuck = self._handle.answered == self._seen
        if self._stuck or self._alone:
            self.capacity = 1
        elif self.auto:
            pace = self._handle.pace
            self.capacity = MOST if pace * MOST <= PATIENCE else max(1, int(PATIENCE / pace))
        else:
            self.capacity = self._fixed

    def keep_alone(self, alone: bool) -> None:
        """Give it nothing ahead, for it is leased; or again."""
        self._alone = alone
        self.adapt()

    def watch(self, now: float) -> None:
        """It holds a call from now on."""
        if self.look_at == math.inf:
            self._seen = self._handle.answered
            self.look_at = now + PATIENCE

    def stuck(self, now: float, held: int) -> bool:
        """Whether nothing was answered for a while although it holds so many calls."""
        if now < self.look_at:
            return False
        self.look_at = math.inf
        if not held:
            return False
        if self._handle.answered == self._seen:
            return True
        self.watch(now)
        return False

    def ask_back(self) -> None:
        """Have it give back what it has not begun."""
        self._seen = self._handle.answered
        self._stuck = True
        self.capacity = 1
        self._handle.recall()

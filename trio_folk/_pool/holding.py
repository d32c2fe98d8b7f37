"""Holding: how many calls a busy worker may have beyond the one it runs, and when it must give them back.

Calls of microseconds that each wait for the last one's way back leave workers idle most of the time. Calls of
seconds that were given ahead wait behind each other while other slots are idle. Which of the two they are, only
the last ones tell.

Invariants
    1. With ``"auto"`` a worker is given ahead what it will begin within PATIENCE, by the pace of the last calls when it
       was quickest.
    2. When nothing was answered for PATIENCE while calls are held, they are asked back as soon as a worker is idle;
       with ``"auto"`` at the latest after STUCK. Until the next answer the worker is given none ahead.
    3. Time is looked at only while calls are held.

What does not work
    An average: when the parent is busy, answers wait for it, and when processors are few, workers wait for those. Then
        a worker seems slow that is not; it gets fewer calls at a time, and the parent is busier still. So the pace
        follows quick answers at once, and slow ones in steps. What is held behind a call that really is long comes
        back anyway (2).

Knows a handle and numbers. Does not know dispatch or the wire.
Picture: docs/design/pipelining.md
"""

from __future__ import annotations

import math
from typing import Literal

from ..abc import WorkerHandle

__all__ = ["PATIENCE", "Holding"]

PATIENCE = 0.001
"""Seconds that a call may wait in a worker."""

STUCK = 0.005
"""Seconds without an answer after which a call is long, and no process merely waits for its turn on a processor."""

MOST = 64
"""Calls that a worker has at most with ``"auto"``: enough that system calls are a small part of a call's cost."""

_QUICKEST = PATIENCE / MOST
_STEP = 1.1
"""How many times slower the pace is at most after each slow answer: a few dozen of them end pipelining."""


class Holding:
    """What one worker may hold.

    Args:
        handle: the worker's; it gives calls back.
        prefetch: how many calls it may have, or ``"auto"``.

    Attributes:
        capacity: how many calls it may have now, the one that runs included.
        pace: seconds that a call takes it, by the last ones; inf before the first.
        look_at: when to look whether a call is stuck, or inf.
        urgent: whether it has been stuck for so long that what it holds should be had back though no worker is idle.
    """

    def __init__(self, handle: WorkerHandle, prefetch: int | Literal["auto"]) -> None:
        self._handle = handle
        handle.tell_answers(self.note_answers)
        self._auto = prefetch == "auto"
        self._fixed = 1 if prefetch == "auto" else prefetch
        self._answers = 0
        self._seen = 0  # answers, when it was last looked
        self._looks = 0  # since then
        self._alone = False
        self.pace = math.inf
        self.capacity = self._fixed
        self.look_at = math.inf
        self.urgent = False

    def note_answers(self, count: int, seconds: float) -> None:
        """So many calls were answered in so many seconds."""
        self._answers += count
        pace = seconds / count
        if pace > self.pace:
            pace = min(pace, self.pace * _STEP)
        self.pace = pace
        if not self._alone:
            self.capacity = self._room()

    def keep_alone(self, alone: bool) -> None:
        """Give it nothing ahead, for it is leased; or again."""
        self._alone = alone
        self.capacity = 1 if alone else self._room()

    def watch(self, now: float) -> None:
        """It holds a call from now on."""
        self._seen, self.urgent = self._answers, False
        self._looks = 0
        self.look_at = now + PATIENCE

    def stuck(self, now: float, held: int) -> bool:
        """Whether nothing was answered for a while although it holds so many calls."""
        if now < self.look_at:
            return False
        self.look_at = math.inf
        if held <= 0:
            return False
        if self._answers != self._seen:
            self.watch(now)
            return False
        self._looks += 1
        if self._looks == 1 and self._auto:
            self.look_at = now + STUCK
        self.urgent = self._looks > 1
        return True

    def ask_back(self) -> bool:
        """Have it give back what it has not begun; whether there is anything."""
        self.capacity = 1  # until it answers
        return self._handle.recall()

    def _room(self) -> int:
        if not self._auto:
            return self._fixed
        return MOST if self.pace <= _QUICKEST else int(PATIENCE / self.pace) or 1

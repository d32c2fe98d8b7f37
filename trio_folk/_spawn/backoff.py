"""Backoff: how long one key waits between attempts. It doubles with each failure, and all of it is by chance.

Full jitter: anything from nothing to the whole. What failed together does not come back together, and the budget
bounds what chance allows.

Knows numbers. Does not know keys, or who waits.
"""

from __future__ import annotations

import math
import random

__all__ = ["BASE", "CAP", "Backoff"]

BASE = 0.1
"""Seconds that the wait after a first failure may have at most; doubled for each further one."""
CAP = 10.0
"""Seconds that any wait may have at most."""


class Backoff:
    """The failures in a row of one key, and when its next attempt is due."""

    def __init__(self) -> None:
        self.failures = 0
        self._due = -math.inf
        self._forget = -math.inf

    def __repr__(self) -> str:
        return f"<Backoff {self.failures} failures>"

    def failed(self, now: float, window: float, chance: random.Random) -> None:
        """One more failure in a row; the row begins anew when the last one is a window ago."""
        self.failures = 1 if self.over(now) else self.failures + 1
        # 2**16 * BASE is beyond CAP, and a larger power overflows one day
        self._due = now + chance.uniform(0, min(CAP, BASE * 2.0 ** min(self.failures - 1, 16)))
        self._forget = now + max(window, CAP)

    def seconds(self, now: float) -> float:
        """How long until the next attempt is due; 0 if it is."""
        return max(0.0, self._due - now)

    def over(self, now: float) -> bool:
        """Whether its failures are so long ago that they are forgotten."""
        return now >= self._forget

"""What a coordinator can tell of itself at one instant, frozen. Reading changes nothing.

Knows numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import attrs

__all__ = ["BudgetStatistics", "SpawnStatistics"]


@attrs.frozen(kw_only=True, repr=False)
class BudgetStatistics:
    """One budget at this instant.

    Attributes:
        scope: whose it is.
        attempts, window: so many in any window of so many seconds.
        used: attempts that count now: in flight, on probation or failed.
        remaining: attempts that may begin now.
        in_flight: the keys of those that are being made.
        on_probation: how many succeeded and are not yet known to be stable.
        failed: how many failed, within the window.
        retry_after: seconds until one may begin: 0 if now, inf while only attempts in flight stand in the way.
    """

    scope: Hashable
    attempts: int
    window: float
    used: int
    remaining: int
    in_flight: tuple[Hashable, ...]
    on_probation: int
    failed: int
    retry_after: float

    def __repr__(self) -> str:
        parts = [f"{self.used} of {self.attempts} attempts in {self.window:g} s used"]
        if self.in_flight:
            parts.append(f"{len(self.in_flight)} in flight")
        if self.on_probation:
            parts.append(f"{self.on_probation} on probation")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if 0 < self.retry_after < math.inf:
            parts.append(f"next in {self.retry_after:.3g} s")
        return f"<BudgetStatistics {self.scope!r}: {', '.join(parts)}>"


@attrs.frozen(kw_only=True, repr=False)
class SpawnStatistics:
    """A coordinator at this instant.

    Attributes:
        budgets: one record for each scope that has attempts on record.
        in_flight: how many attempts are being made.
        launching: how many of `limiter`'s tokens are taken.
        waiting: how many tasks wait for one.
    """

    budgets: tuple[BudgetStatistics, ...]
    in_flight: int
    launching: int
    waiting: int

    def __repr__(self) -> str:
        return (
            f"<SpawnStatistics {self.in_flight} in flight, {self.launching} launching, {self.waiting} waiting, "
            f"budgets: {list(self.budgets)}>"
        )

"""Accounts: whose budget a slot's attempts to get a worker are spent from.

A runtime may consist of parts that fail by themselves: this machine's workers, and those of a cluster that is down. If
all spent one budget, the part that fails again and again would leave nothing for the other when that needs a worker.

Knows numbers and names. Does not know attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from .._spawn import BudgetStatistics, SpawnBudget
from ..abc import Runtime
from .config import PoolConfig

__all__ = ["Account", "Scope", "combined", "open_accounts"]


@attrs.frozen(eq=False)
class Scope:
    """Whose budget an attempt counts against: two pools of one name are two."""

    pool: str
    part: int | None = None

    def __str__(self) -> str:
        return f"pool {self.pool!r}" + ("" if self.part is None else f", part {self.part}")

    __repr__ = __str__


@attrs.frozen(eq=False)
class Account:
    """A budget of attempts, and whose it is."""

    scope: Scope
    budget: SpawnBudget


def open_accounts(runtime: Runtime, config: PoolConfig, name: str) -> list[Account]:
    """Each slot's account, and each spare's after them: one for every part of the runtime."""
    seats = config.slots + config.spares
    parts = [runtime.part(number) for number in range(seats)]
    sizes = Counter(parts)
    made = {
        part: Account(
            Scope(name, part if len(sizes) > 1 else None), config.budget or SpawnBudget.for_slots(size)
        )
        for part, size in sizes.items()
    }
    return [made[part] for part in parts]


def combined(scope: Scope, records: Sequence[BudgetStatistics]) -> BudgetStatistics:
    """Several budgets as one record: what is left in any of them is left."""
    if len(records) == 1:
        return records[0]
    return BudgetStatistics(
        scope=scope,
        attempts=sum(each.attempts for each in records),
        window=max(each.window for each in records),
        used=sum(each.used for each in records),
        remaining=sum(each.remaining for each in records),
        in_flight=tuple(key for each in records for key in each.in_flight),
        on_probation=sum(each.on_probation for each in records),
        failed=sum(each.failed for each in records),
        retry_after=min(each.retry_after for each in records),
    )

"""Scope: those who share one budget, e.g. the slots of a pool; what they have in flight, and who waits for a change.

Knows its log and its permits. Does not know the time, nor other scopes.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs
import trio

from .._errors import SpawnBudgetExhausted
from .budget import BudgetLog, SpawnBudget
from .permit import PermitState, SpawnPermit
from .statistics import BudgetStatistics

__all__ = ["Scope"]


@attrs.define(eq=False)
class Scope:
    """One budget in use.

    Attributes:
        name: whose it is.
        budget: how much it is.
        flights: its permits in flight, by number.
        changed: set, and replaced, whenever one of its attempts moves on.
    """

    name: Hashable
    budget: SpawnBudget
    log: BudgetLog = attrs.field(init=False)
    flights: dict[int, SpawnPermit] = attrs.field(factory=dict)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.log = BudgetLog(self.budget)

    def settle(self, permit: SpawnPermit, error: BaseException | None) -> None:
        """One of its permits has moved on."""
        self.flights.pop(permit.number, None)
        if permit.state is PermitState.PROBATION:
            self.log.land(permit.number)
        elif permit.state is PermitState.FAILED:
            self.log.fail(permit.number, error)
        else:
            self.log.give_back(permit.number)
        self.wake()

    def wake(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = trio.Event()

    def refuse(self, now: float) -> None:
        """Raise if no attempt may begin now, with all that is known of why."""
        if self.log.remaining(now):
            return
        failed, errors = self.log.failed(now), self.log.errors(now)
        hint = "see why the last one failed" if failed else "wait until some are stable, or raise the budget"
        raise SpawnBudgetExhausted(
            self.log.retry_after(now),
            0,
            f"the spawn budget of {self.name!r}, {self.budget}, is used up: {failed} failed, "
            f"{self.log.used(now) - failed} in flight or on probation",
            stage="launch",
            hint=hint,
        ) from (errors[-1] if errors else None)

    def statistics(self, now: float) -> BudgetStatistics:
        """What can be told of it now."""
        return BudgetStatistics(
            scope=self.name,
            attempts=self.budget.attempts,
            window=self.budget.window,
            used=self.log.used(now),
            remaining=self.log.remaining(now),
            in_flight=tuple(permit.key for permit in self.flights.values()),
            on_probation=self.log.on_probation(now),
            failed=self.log.failed(now),
            retry_after=self.log.retry_after(now),
        )

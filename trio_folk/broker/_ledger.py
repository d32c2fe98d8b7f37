"""Ledger: the budget of all programs together, kept as the beginnings of attempts in the backend's record.

A budget in each program's memory lets 64 programs try 64 times. These numbers are read, judged and written by whoever
holds the spawn lock.

Knows numbers. Does not know files or locks.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import SpawnBudgetExhausted
from .._spawn import BudgetLog, SpawnBudget

__all__ = ["begin_attempt", "still_counting"]


def begin_attempt(attempts: Sequence[float], budget: SpawnBudget, now: float) -> tuple[float, ...]:
    """The attempts on record with one more, which begins now; those that count no more are left out.

    Raises:
        SpawnBudgetExhausted: the window is full; says when to come back.
    """
    counting = still_counting(attempts, budget, now)
    log = BudgetLog(budget)
    # Another program's budget may be larger than this one's: of its attempts, the latest fill ours.
    for number, began in enumerate(counting[-budget.attempts :]):
        log.begin(number, began)
        log.land(number)
    try:
        log.begin(len(counting), now)
    except SpawnBudgetExhausted as refusal:
        raise SpawnBudgetExhausted(
            refusal.retry_after,
            0,
            f"the spawn budget of this backend, {budget}, is used up, by all programs together",
            stage="launch",
            hint="see in its log why it does not stay",
        ) from None
    return (*counting, now)


def still_counting(attempts: Sequence[float], budget: SpawnBudget, now: float) -> tuple[float, ...]:
    """Those that began within the window, oldest first; what lies in the future is another clock's."""
    return tuple(sorted(began for began in attempts if began <= now < began + budget.window))

"""Spawn budget: how many attempts a window allows, and when to ask again.

A crash loop turns one broken import into a thousand forks a minute, and the machine dies of the cure. The
budget is the brake. An attempt counts from its beginning; it is given back when it was planned to end, was
withdrawn, or proved stable; otherwise it counts until the window slides past its beginning.

Invariants
    1. No window of that length ever holds the beginnings of more than ``attempts`` attempts not given back.
    2. An attempt in flight counts however long the window is.
    3. A refusal carries ``retry_after``; after that long, if nothing happens in between, the answer is yes, and
       after a tick less it is not.
    4. Time does not move in here: ``now`` is an argument, and never goes back. Reading changes nothing.

What does not work
    A fixed window allows twice as many across its edge; a token bucket too. Hence the list of beginnings.
    Forgetting everything at a success lets a program that starts well and dies at once spin for ever.

Knows numbers. Does not know trio, processes, slots, or who is asking.
Picture: docs/design/spawn.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs

from .._errors import SpawnBudgetExhausted

__all__ = ["BudgetLog", "SpawnBudget"]

ATTEMPTS_PER_SLOT = 3
"""What a pool's budget holds by default for each of its slots."""


def _attempts(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"attempts is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"attempts is at least 1, not {value!r}: nothing could ever be started")


def _window(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"window is a number of seconds, not {value!r}")
    if not value > 0:
        raise ValueError(f"window is more than 0 seconds, not {value!r}: it would limit nothing")


@attrs.frozen
class SpawnBudget:
    """So many attempts in any window of so many seconds, the window sliding.

    Attributes:
        attempts: how many.
        window: how long, in seconds; ``math.inf`` means that what was spent stays spent.
    """

    attempts: int = attrs.field(default=3, validator=_attempts)
    window: float = attrs.field(default=30.0, validator=_window)

    @classmethod
    def for_slots(cls, slots: int, window: float = 30.0) -> SpawnBudget:
        """What a pool of so many slots has by default: three attempts a slot in 30 seconds, shared by all.

        All slots boot at once, and an attempt counts until its worker is stable: less than one a slot would
        hold back a healthy pool.
        """
        return cls(ATTEMPTS_PER_SLOT * slots, window)

    def __str__(self) -> str:
        return f"{self.attempts} in {self.window:g} s"


@attrs.define
class _Attempt:
    until: float
    in_flight: bool = True
    failed: bool = False
    error: BaseException | None = None


class BudgetLog:
    """The attempts that count against one budget. An attempt is known by a number that its owner chooses."""

    def __init__(self, budget: SpawnBudget) -> None:
        self.budget = budget
        self._attempts: dict[int, _Attempt] = {}  # oldest first; one that fails moves to the end
        self._latest = -math.inf
        # Before this instant none that has landed stops counting. 512 slots boot together, and each asks several
        # times how many count: without this each of them would look at all the others.
        self._settled = math.inf

    def __repr__(self) -> str:
        return f"<BudgetLog {self.budget}: {len(self._attempts)} on record>"

    def begin(self, attempt: int, now: float) -> None:
        """An attempt begins.

        Raises:
            SpawnBudgetExhausted: the window is full.
        """
        if now < self._latest:
            raise ValueError(f"time went back, from {self._latest} to {now}")
        self._latest = now
        if now >= self._settled:
            self._forget(now)
        if self.remaining(now) == 0:
            raise SpawnBudgetExhausted(self.retry_after(now))
        self._attempts[attempt] = _Attempt(_end(now, self.budget.window))

    def land(self, attempt: int) -> None:
        """It is in flight no more; whether it was worth it remains to be seen."""
        if (record := self._attempts.get(attempt)) is not None:
            record.in_flight = False
            self._settled = min(self._settled, record.until)

    def fail(self, attempt: int, error: BaseException | None = None) -> None:
        """It failed: it counts until the window slides past its beginning. Too late, this changes nothing."""
        if (record := self._attempts.pop(attempt, None)) is not None:
            record.in_flight, record.failed, record.error = False, True, error
            self._attempts[attempt] = record
            self._settled = min(self._settled, record.until)

    def give_back(self, attempt: int) -> None:
        """It does not count: it proved stable, or was meant to end."""
        self._attempts.pop(attempt, None)

    def used(self, now: float) -> int:
        """How many attempts count now."""
        if now < self._settled:
            return len(self._attempts)
        return sum(1 for _ in self._counting(now))

    def remaining(self, now: float) -> int:
        """How many more may begin now."""
        return max(0, self.budget.attempts - self.used(now))

    def on_probation(self, now: float) -> int:
        """How many that count have landed and not failed."""
        return sum(not each.in_flight and not each.failed for each in self._counting(now))

    def failed(self, now: float) -> int:
        """How many that count have failed."""
        return sum(each.failed for each in self._counting(now))

    def errors(self, now: float) -> tuple[BaseException, ...]:
        """What was said of the failures that count, oldest first."""
        return tuple(each.error for each in self._counting(now) if each.error is not None)

    def retry_after(self, now: float) -> float:
        """Seconds until one may begin: 0 if now, inf while only attempts in flight stand in the way."""
        if self.remaining(now):
            return 0.0
        return _wait(now, min((e.until for e in self._counting(now) if not e.in_flight), default=math.inf))

    def _forget(self, now: float) -> None:
        """Drop those that count no longer."""
        for number in [n for n, each in self._attempts.items() if not _counts(each, now)]:
            del self._attempts[number]
        landed = (each.until for each in self._attempts.values() if not each.in_flight)
        self._settled = min(landed, default=math.inf)

    def _counting(self, now: float) -> Iterator[_Attempt]:
        return (each for each in self._attempts.values() if _counts(each, now))


def _counts(attempt: _Attempt, now: float) -> bool:
    return attempt.in_flight or now < attempt.until


def _end(now: float, window: float) -> float:
    """The first instant at which as much as the window has passed, by addition and by subtraction alike."""
    end = now + window
    return end if end - now >= window else math.nextafter(end, math.inf)


def _wait(now: float, until: float) -> float:
    """The wait from now that lands on that instant: the difference of two floats may miss it by a tick."""
    wait = until - now
    while now + wait < until:
        wait = math.nextafter(wait, math.inf)
    while now + wait > until and now + (less := math.nextafter(wait, 0.0)) >= until:
        wait = less
    return wait

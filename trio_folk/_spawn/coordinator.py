"""Spawn coordinator: leave to make one attempt, or a refusal that says when to come back.

Invariants
    1. At most one attempt of a key is in flight, however long it takes and however short the window is.
    2. An attempt ends by its own permit only.
    3. A refusal changes nothing, and neither does reading.
    4. Keys and scopes with nothing left to remember are forgotten.

Knows keys, budgets and permits. Does not know what is started, and never starts it.
Picture: docs/design/spawn.md
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import trio

from .._errors import SpawnInProgress
from .backoff import Backoff
from .budget import SpawnBudget
from .permit import PermitState, SpawnPermit
from .scope import Scope
from .statistics import BudgetStatistics, SpawnStatistics

__all__ = ["SpawnCoordinator"]

IN_PROGRESS_RETRY = 1.0
"""Seconds after which a refusal because of an attempt in flight suggests to ask again."""
LAUNCHES = max(8, 2 * (os.cpu_count() or 1))
"""Launches at once by default; each takes most of a processor until its worker is ready."""
PRUNE_AT = 16
"""Records beyond which those with nothing to remember are looked for; then at each doubling."""


class SpawnCoordinator:
    """Says whether something may be started now. Belongs to one trio run; may be shared by many pools.

    Args:
        budget: what each scope has, unless the asker says otherwise.
        clock: the time in seconds; trio's.
        seed: makes the jitter of the waits between attempts repeatable.
        limiter: bounds the launches that run at once, over all who share this coordinator.
    """

    def __init__(
        self,
        budget: SpawnBudget | None = None,
        *,
        clock: Callable[[], float] = trio.current_time,
        seed: int | str | None = None,
        limiter: trio.CapacityLimiter | None = None,
    ) -> None:
        self.budget: SpawnBudget = SpawnBudget() if budget is None else budget
        self.limiter: trio.CapacityLimiter = trio.CapacityLimiter(LAUNCHES) if limiter is None else limiter
        self._clock = clock
        self._latest = float("-inf")
        self._chance = random.Random(seed)
        self._numbers = itertools.count(1)
        self._flights: dict[Hashable, SpawnPermit] = {}
        self._scopes: dict[Hashable, Scope] = {}
        self._waits: dict[Hashable, Backoff] = {}
        self._prune_at = PRUNE_AT

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.budget}: {len(self._flights)} in flight>"

    def try_begin(
        self, key: Hashable, *, scope: Hashable = None, budget: SpawnBudget | None = None
    ) -> SpawnPermit:
        """Leave to make one attempt now, as a one-shot token; use it as a context manager, or end it yourself.

        Waits neither for `backoff` nor for `limiter`: who drives it does that.

        Args:
            key: what is to be started; one attempt of it is in flight at a time.
            scope: whose budget it counts against, e.g. a pool for all its slots; the key itself by default.
            budget: the scope's; the coordinator's own by default.

        Raises:
            SpawnInProgress: an attempt of this key is in flight.
            SpawnBudgetExhausted: the scope's window is full; its cause is the last failure, where one was told.
            ValueError: the scope has attempts on record under another budget.
        """
        self.refuse(key, scope=scope, budget=budget)
        now = self._tick()
        self._prune(now)
        whose = self._scope(key if scope is None else scope, budget, now)
        number = next(self._numbers)
        whose.log.begin(number, now)
        permit = SpawnPermit(key, whose.name, number, whose.log.remaining(now), now, self._settle)
        before = self._scopes.get(whose.name)
        if before is not None and before is not whose:
            before.wake()
        self._scopes[whose.name] = whose
        self._flights[key] = whose.flights[number] = permit
        return permit

    def refuse(self, key: Hashable, *, scope: Hashable = None, budget: SpawnBudget | None = None) -> None:
        """Raise what `try_begin` would raise now; begin nothing, change nothing."""
        now = self._now()
        if (current := self._flights.get(key)) is not None:
            raise SpawnInProgress(
                IN_PROGRESS_RETRY,
                f"an attempt to start {key!r} has been in flight for {now - current.began:.3g} s",
                stage="launch",
            )
        self._scope(key if scope is None else scope, budget, now).refuse(now)

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def spawn(
        self, key: Hashable, *, scope: Hashable = None, budget: SpawnBudget | None = None
    ) -> AsyncIterator[SpawnPermit]:
        """One attempt: ``async with coordinator.spawn(key) as permit:`` launch, and wait until it is ready.

        A refusal comes at once. Otherwise waits until the key's next attempt is due, and for a launch to be free;
        then the block is the attempt. Left normally it succeeded, and stays on probation until you say
        ``permit.stable()`` (or ``failed()``, if it dies young); by an exception it failed.

        Raises:
            SpawnInProgress, SpawnBudgetExhausted, ValueError: as `try_begin`.

        Entering is always a checkpoint. Cancellation: the key is free, and the attempt is given back.
        """
        self.refuse(key, scope=scope, budget=budget)
        await trio.sleep(self.backoff(key))
        async with self.limiter:
            with self.try_begin(key, scope=scope, budget=budget) as permit:
                yield permit

    def backoff(self, key: Hashable) -> float:
        """Seconds until this key's next attempt is due: 0, or what its failures in a row have earned it."""
        wait = self._waits.get(key)
        return 0.0 if wait is None else wait.seconds(self._now())

    def failures(self, scope: Hashable) -> tuple[BaseException, ...]:
        """The errors of this scope's failures within the window, oldest first, as their permits were told."""
        whose = self._scopes.get(scope)
        return () if whose is None else whose.log.errors(self._now())

    async def wait_settled(self, scope: Hashable) -> None:
        """Return when one of the scope's attempts has landed, failed or been given back; at once if it has none.

        Whoever was refused waits for this or for ``retry_after``, whichever is sooner.

        Always a checkpoint. Cancellation: nothing has changed.
        """
        whose = self._scopes.get(scope)
        if whose is None:
            await trio.lowlevel.checkpoint()
        else:
            await whose.changed.wait()

    def snapshot(self, scope: Hashable) -> BudgetStatistics:
        """One scope's budget now; with nothing on record it is the coordinator's own, unused."""
        return (self._scopes.get(scope) or Scope(scope, self.budget)).statistics(self._now())

    def statistics(self) -> SpawnStatistics:
        """All scopes that have attempts on record, and the launches now."""
        now = self._now()
        limiter = self.limiter.statistics()
        return SpawnStatistics(
            budgets=tuple(each.statistics(now) for each in self._scopes.values() if each.log.used(now)),
            in_flight=len(self._flights),
            launching=limiter.borrowed_tokens,
            waiting=limiter.tasks_waiting,
        )

    def _scope(self, name: Hashable, budget: SpawnBudget | None, now: float) -> Scope:
        whose = self._scopes.get(name)
        if whose is None:
            return Scope(name, budget or self.budget)
        if not whose.log.used(now):
            wanted = budget or self.budget
            return whose if wanted == whose.budget else Scope(name, wanted)
        if budget not in (None, whose.budget):
            raise ValueError(
                f"{name!r} has attempts on record under a budget of {whose.budget}, "
                f"and now asks with {budget}: one scope has one budget"
            )
        return whose

    def _settle(self, permit: SpawnPermit, error: BaseException | None) -> None:
        """A permit has moved on. This is the one way in which an attempt ends."""
        now = self._tick()
        if self._flights.get(permit.key) is permit:
            del self._flights[permit.key]
        whose = self._scopes.get(permit.scope)
        if permit.state is PermitState.FAILED:
            window = self.budget.window if whose is None else whose.budget.window
            self._waits.setdefault(permit.key, Backoff()).failed(now, window, self._chance)
        elif permit.state is PermitState.STABLE:
            self._waits.pop(permit.key, None)
        if whose is not None:
            whose.settle(permit, error)
            if not whose.log.used(now):
                del self._scopes[permit.scope]

    def _prune(self, now: float) -> None:
        if len(self._scopes) + len(self._waits) < self._prune_at:
            return
        for whose in [each for each in self._scopes.values() if not each.log.used(now)]:
            del self._scopes[whose.name]
            whose.wake()
        self._waits = {key: each for key, each in self._waits.items() if not each.over(now)}
        self._prune_at = max(PRUNE_AT, 2 * (len(self._scopes) + len(self._waits)))

    def _now(self) -> float:
        return max(self._latest, self._clock())  # a clock that goes back stands still here

    def _tick(self) -> float:
        self._latest = self._now()
        return self._latest

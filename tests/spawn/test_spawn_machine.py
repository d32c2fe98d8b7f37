"""The coordinator against a model that keeps everything: whatever is asked and ended, in any order, at any time."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from trio_folk._errors import SpawnBudgetExhausted, SpawnInProgress
from trio_folk._spawn import SpawnBudget, SpawnCoordinator, SpawnPermit

BUDGETS = {"few": SpawnBudget(1, 5.0), "some": SpawnBudget(3, 7.3), "many": SpawnBudget(4, 0.1)}
keys = st.sampled_from([(scope, slot) for scope in BUDGETS for slot in range(3)])


@attrs.define
class Attempt:
    """What the model knows of one attempt."""

    key: tuple[str, int]
    began: float
    in_flight: bool = True
    returned: bool = False


class Births(RuleBasedStateMachine):
    """Slots of three pools under one coordinator, and a clock that the machine moves."""

    permits: Any = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1234.5678
        self.coordinator = SpawnCoordinator(clock=lambda: self.now, seed=1)
        self.attempts: dict[SpawnPermit, Attempt] = {}

    def counting(self, scope: str, now: float) -> list[Attempt]:
        window = BUDGETS[scope].window
        return [
            each
            for each in self.attempts.values()
            if each.key[0] == scope
            and not each.returned
            and (each.in_flight or now < each.began + window or now - each.began < window)
        ]

    def in_flight(self, key: tuple[str, int]) -> bool:
        return any(each.in_flight for each in self.attempts.values() if each.key == key)

    def ask(self, key: tuple[str, int]) -> SpawnPermit:
        permit = self.coordinator.try_begin(key, scope=key[0], budget=BUDGETS[key[0]])
        self.attempts[permit] = Attempt(key, self.now)
        return permit

    @rule(target=permits, key=keys)
    def begin(self, key: tuple[str, int]) -> Any:
        """Leave is given exactly when the model would give it, and a refusal says when."""
        before = repr(self.coordinator.statistics())
        room = len(self.counting(key[0], self.now)) < BUDGETS[key[0]].attempts
        if self.in_flight(key):
            with pytest.raises(SpawnInProgress):
                self.ask(key)
        elif room:
            return self.ask(key)
        else:
            with pytest.raises(SpawnBudgetExhausted) as refusal:
                self.ask(key)
            self.check_retry_after(key, refusal.value.retry_after)
        assert repr(self.coordinator.statistics()) == before
        return multiple()

    def check_retry_after(self, key: tuple[str, int], wait: float) -> None:
        """Honest to the tick, while the world stands still."""
        assert wait > 0
        limit = BUDGETS[key[0]].attempts
        if wait == math.inf:
            assert all(each.in_flight for each in self.counting(key[0], self.now))
        else:
            assert len(self.counting(key[0], self.now + wait)) < limit
            assert len(self.counting(key[0], self.sooner(wait))) == limit

    def sooner(self, wait: float) -> float:
        """After a tick less than that long; or before, where a tick of the wait moves no clock."""
        then = self.now + wait
        less = self.now + math.nextafter(wait, 0.0)
        return less if less < then else math.nextafter(then, 0.0)

    @rule(key=keys)
    def come_back_when_told(self, key: tuple[str, int]) -> None:
        """After ``retry_after``, nothing having happened in between, leave is given; a tick before it is not."""
        budget = BUDGETS[key[0]]
        wait = self.coordinator.snapshot(key[0]).retry_after
        if not self.in_flight(key) and 0 < wait < math.inf:
            then = self.now + wait
            self.now = max(self.now, self.sooner(wait))
            with pytest.raises(SpawnBudgetExhausted):
                self.coordinator.refuse(key, scope=key[0], budget=budget)
            self.now = then
            self.ask(key).cancel()
            self.attempts.popitem()

    @rule(permit=permits, verdict=st.sampled_from(["succeeded", "failed", "stable", "cancel"]))
    def end(self, permit: SpawnPermit, verdict: str) -> None:
        """Any permit, ended already or not, is told anything; only the first end counts."""
        attempt = self.attempts[permit]
        ended = permit.ended
        getattr(permit, verdict)()
        if not ended:
            attempt.in_flight = False
            attempt.returned = verdict in ("stable", "cancel")

    @rule(permit=consumes(permits), fails=st.booleans())
    def leave_block(self, permit: SpawnPermit, fails: bool) -> None:
        """However its block is left, the attempt is not in flight afterwards."""
        try:
            with permit:
                if fails:
                    raise ValueError("it broke")
        except ValueError:
            assert fails
        self.attempts[permit].in_flight = False

    @rule(seconds=st.one_of(st.floats(0, 10), st.sampled_from([0.1, 5.0, 7.3])))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @invariant()
    def no_window_holds_too_many(self) -> None:
        """Of all that was not given back, any one more than the budget spans a whole window."""
        for scope, budget in BUDGETS.items():
            spent = sorted(e.began for e in self.attempts.values() if e.key[0] == scope and not e.returned)
            for first, last in zip(spent, spent[budget.attempts :], strict=False):
                assert last - first >= budget.window
            assert len(self.counting(scope, self.now)) <= budget.attempts

    @invariant()
    def one_birth_in_flight_per_key(self) -> None:
        """And the statistics tell the truth of it."""
        flights = [each.key for each in self.attempts.values() if each.in_flight]
        assert len(set(flights)) == len(flights)
        told = self.coordinator.statistics()
        assert told.in_flight == len(flights)
        assert sorted(key for each in told.budgets for key in each.in_flight) == sorted(flights)
        for scope, budget in BUDGETS.items():
            snapshot = self.coordinator.snapshot(scope)
            if snapshot.used:
                assert snapshot.used == len(self.counting(scope, self.now))
                assert snapshot.remaining == budget.attempts - snapshot.used


TestBirths = Births.TestCase
TestBirths.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)

"""The budget's sliding log, by itself: numbers in, numbers out."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_folk._errors import SpawnBudgetExhausted
from trio_folk._spawn.budget import BudgetLog, SpawnBudget, _end, _wait

WINDOW = 10.0
instants = st.floats(0, 1e9, allow_subnormal=False)
windows = st.floats(1e-3, 1e6)


def full(budget: SpawnBudget, now: float) -> BudgetLog:
    """A log in which every attempt began now, and failed."""
    log = BudgetLog(budget)
    for number in range(budget.attempts):
        log.begin(number, now)
        log.fail(number)
    return log


@pytest.mark.parametrize(
    ("attempts", "window", "error"),
    [
        (0, 1, ValueError),
        (-1, 1, ValueError),
        (1.0, 1, TypeError),
        (True, 1, TypeError),
        (math.inf, 1, TypeError),
        (1, 0, ValueError),
        (1, -1, ValueError),
        (1, math.nan, ValueError),
        (1, "1", TypeError),
        (1, True, TypeError),
    ],
)
def test_a_budget_that_means_nothing_is_refused(attempts: Any, window: Any, error: type[Exception]) -> None:
    """A window of 0 would let everything through, and no attempts nothing."""
    with pytest.raises(error):
        SpawnBudget(attempts, window)


def test_defaults_are_three_in_thirty_seconds_and_three_for_each_slot() -> None:
    """For one backend, and for a pool."""
    assert SpawnBudget() == SpawnBudget(3, 30.0)
    assert SpawnBudget.for_slots(4) == SpawnBudget(12, 30.0)
    assert str(SpawnBudget()) == "3 in 30 s"


def test_the_edge_of_a_window_does_not_double_it() -> None:
    """Two late in one window and two early in the next are four in one window of the same length (invariant 1)."""
    log = BudgetLog(SpawnBudget(2, 10.0))
    for number, now in enumerate([8.0, 9.0]):
        log.begin(number, now)
        log.fail(number)
    with pytest.raises(SpawnBudgetExhausted) as refusal:
        log.begin(2, 10.0)
    assert refusal.value.retry_after == 8.0
    assert refusal.value.remaining == 0
    log.begin(3, 18.0)
    assert log.remaining(18.0) == 0


def test_an_attempt_in_flight_counts_however_short_the_window_is() -> None:
    """Nobody knows when it ends, so nobody is told when to come back (invariant 2)."""
    log = BudgetLog(SpawnBudget(1, 1.0))
    log.begin(1, 0.0)
    with pytest.raises(SpawnBudgetExhausted) as refusal:
        log.begin(2, 1000.0)
    assert refusal.value.retry_after == math.inf
    log.land(1)
    log.begin(2, 1000.0)


def test_what_is_given_back_does_not_count() -> None:
    """Stable, planned or withdrawn."""
    log = BudgetLog(SpawnBudget(1, 30.0))
    for number in range(100):
        log.begin(number, 0.0)
        log.land(number)
        log.give_back(number)
    assert (log.used(0.0), log.remaining(0.0)) == (0, 1)


def test_probation_counts_until_the_window_has_passed() -> None:
    """A start that went well replenishes nothing by itself."""
    log = BudgetLog(SpawnBudget(1, 30.0))
    log.begin(1, 0.0)
    log.land(1)
    assert log.on_probation(0.0) == 1
    with pytest.raises(SpawnBudgetExhausted):
        log.begin(2, 29.0)
    log.begin(2, 30.0)
    log.fail(1)  # too late: it left the window
    assert log.failed(30.0) == 0


def test_an_endless_window_forgets_only_what_is_given_back() -> None:
    """What was spent stays spent."""
    log = full(SpawnBudget(1, math.inf), 0.0)
    assert log.retry_after(1e12) == math.inf
    log.give_back(0)
    assert log.retry_after(1e12) == 0.0


def test_time_does_not_go_back() -> None:
    """Whoever has such a clock has to hold it (invariant 4)."""
    log = BudgetLog(SpawnBudget(2, 1.0))
    log.begin(1, 5.0)
    with pytest.raises(ValueError, match="time went back"):
        log.begin(2, 4.0)


def test_reading_changes_nothing() -> None:
    """Not even when it is asked about a later time (invariant 4)."""
    log = full(SpawnBudget(2, 10.0), 0.0)
    for now in (100.0, 5.0):
        log.used(now), log.remaining(now), log.retry_after(now), log.errors(now)
    assert log.used(5.0) == 2
    assert log.retry_after(5.0) == 5.0


def test_errors_of_failures_are_kept_in_their_order_while_they_count() -> None:
    """In the order of the failures, not of the beginnings."""
    log = BudgetLog(SpawnBudget(3, 10.0))
    first, second = ValueError("first"), ValueError("second")
    log.begin(1, 0.0)
    log.begin(2, 1.0)
    log.fail(2, first)
    log.fail(1, second)
    assert log.errors(9.0) == (first, second)
    assert log.errors(10.0) == (first,)
    assert log.errors(11.0) == ()


@given(instants, windows)
def test_the_end_of_a_window_is_its_end_by_sum_and_by_difference(now: float, window: float) -> None:
    """Whichever way somebody checks it, no window holds one too many; and it is not later than it must be."""
    end = _end(now, window)
    assert end >= now + window
    assert end - now >= window
    assert end <= math.nextafter(now + window, math.inf)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_wait_lands_on_its_instant(now: float, ahead: float) -> None:
    """Never before it, and a wait one tick shorter would fall short, or land on the same one."""
    until = now + ahead
    wait = _wait(now, until)
    assert now + wait >= until
    if wait > 0:
        assert now + math.nextafter(wait, 0.0) <= until


@given(instants, windows, st.floats(0, 1))
def test_retry_after_is_honest_to_the_tick(now: float, window: float, share: float) -> None:
    """After exactly that long the answer is yes, and after a tick less it is not (invariant 3)."""
    log = full(SpawnBudget(2, window), now)
    asked = min(now + share * window, math.nextafter(_end(now, window), 0.0))
    wait = log.retry_after(asked)
    then, sooner = asked + wait, asked + math.nextafter(wait, 0.0)
    assert log.remaining(then) == 2
    if sooner < then:  # far from 0 a tick of the wait is less than one of the clock
        assert log.remaining(sooner) == 0
        with pytest.raises(SpawnBudgetExhausted):
            log.begin(7, sooner)
    log.begin(7, then)


def steps_of_one_more(others: int) -> int:
    """How many steps an attempt takes from its beginning to its landing, beside so many that have landed."""
    log = BudgetLog(SpawnBudget(others + 1, WINDOW))
    for number in range(others):
        log.begin(number, 0.0)
        log.land(number)
    steps = []
    sys.setprofile(lambda frame, event, _: steps.append(event))
    try:
        log.begin(others, 1.0)
        log.remaining(1.0)
        log.land(others)
    finally:
        sys.setprofile(None)
    return len(steps)


def test_attempt_costs_as_much_beside_a_thousand_as_beside_one() -> None:
    """Hundreds of slots boot together, so nothing may look at all the others."""
    assert steps_of_one_more(1000) == steps_of_one_more(1)


def test_attempt_that_lands_after_its_window_counts_no_longer() -> None:
    """In flight it counts however long the window is (invariant 2), and then not for a moment more."""
    log = BudgetLog(SpawnBudget(2, WINDOW))
    log.begin(0, 0.0)
    log.begin(1, 1.0)
    assert log.used(20.0) == 2
    log.land(0)
    assert log.used(20.0) == 1
    log.fail(1)
    assert log.used(20.0) == 0

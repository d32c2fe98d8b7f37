"""How many calls a worker may hold, and when it must give them back: numbers only."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from trio_folk import PoolConfig
from trio_folk._pool.holding import MOST, PATIENCE, STUCK, Holding


class Handle(SimpleNamespace):
    """Counts how often it was asked for what it holds."""

    recalls = 0

    def tell_answers(self, told: Callable[[int, float], object]) -> None:
        self.told = told

    def recall(self) -> bool:
        self.recalls += 1
        return True


def holding(prefetch: int | Literal["auto"] = "auto") -> tuple[Holding, Any]:
    handle: Any = Handle()
    return Holding(handle, prefetch), handle


def answers(each: Holding, seconds: float, times: int = 1, *, count: int = 1) -> None:
    for _ in range(times):
        each.note_answers(count, seconds)


def test_nothing_is_given_ahead_before_a_call_was_answered() -> None:
    """Nobody knows how long they are."""
    assert holding()[0].capacity == 1


@pytest.mark.parametrize(
    ("seconds", "capacity"), [(1e-6, MOST), (100e-6, 10), (400e-6, 2), (0.6e-3, 1), (10, 1)]
)
def test_what_is_held_begins_within_patience(seconds: float, capacity: int) -> None:
    """As many as the last calls' pace makes of a millisecond; no more than MOST."""
    each, _ = holding()
    answers(each, seconds, 40)
    assert each.capacity == capacity


def test_answers_that_come_together_share_their_time() -> None:
    """Sixteen in 160 microseconds took ten each."""
    each, _ = holding()
    answers(each, 160e-6, 40, count=16)
    assert each.pace == pytest.approx(10e-6)


def test_one_slow_answer_among_quick_ones_changes_little() -> None:
    """The parent was busy, or a processor was: what is stuck behind a call that is long comes back anyway."""
    each, _ = holding()
    answers(each, 40e-6, 20)
    answers(each, 60.0)
    assert 15 < each.capacity < 25  # of 25
    answers(each, 40e-6)
    assert each.capacity == 25


def test_a_few_dozen_long_calls_end_it() -> None:
    """However short they were before."""
    each, _ = holding()
    answers(each, 50e-6, 20)
    answers(each, 0.005, 40)
    assert each.capacity == 1


def test_a_fixed_number_is_a_fixed_number() -> None:
    """Whatever the pace."""
    each, _ = holding(3)
    assert each.capacity == 3
    answers(each, 10)
    assert each.capacity == 3


@pytest.mark.parametrize(("prefetch", "capacity"), [("auto", MOST), (3, 3)])
def test_what_gave_back_its_calls_gets_some_again_when_it_answers(
    prefetch: int | Literal["auto"], capacity: int
) -> None:
    """Until then it gets none ahead: it is busy with a long one."""
    each, handle = holding(prefetch)
    answers(each, 1e-6)
    assert each.ask_back()
    assert (each.capacity, handle.recalls) == (1, 1)
    handle.told(1, 1e-6)
    assert each.capacity == capacity


def test_a_leased_worker_gets_nothing_ahead() -> None:
    """Whatever its calls; afterwards it does again."""
    each, _ = holding(5)
    each.keep_alone(True)
    answers(each, 1e-6)
    assert each.capacity == 1
    each.keep_alone(False)
    assert each.capacity == 5


def test_a_worker_that_answers_is_not_stuck() -> None:
    """It is looked at again as long as it holds something."""
    each, _ = holding(5)
    each.watch(0.0)
    assert not each.stuck(PATIENCE / 2, 3)
    answers(each, 1e-6)
    assert not each.stuck(PATIENCE, 3)
    assert each.look_at == pytest.approx(2 * PATIENCE)
    assert not each.stuck(each.look_at, 0)
    assert each.look_at == float("inf")


def test_a_worker_that_does_not_answer_is_stuck_and_after_a_while_urgently() -> None:
    """First as soon as another is idle, then whether or not."""
    each, _ = holding()
    each.watch(0.0)
    assert each.stuck(PATIENCE, 3)
    assert not each.urgent
    assert each.look_at == pytest.approx(PATIENCE + STUCK)
    assert each.stuck(each.look_at, 3)
    assert each.urgent
    assert each.look_at == float("inf")


def test_with_a_fixed_number_it_is_never_urgent() -> None:
    """The user has said that calls may wait there; they go to an idle worker, and else stay."""
    each, _ = holding(5)
    each.watch(0.0)
    assert each.stuck(PATIENCE, 3)
    assert each.look_at == float("inf")
    assert not each.urgent


def test_what_was_asked_back_is_followed_by_nothing_until_the_next_answer() -> None:
    """Else it would be given right back to the same worker."""
    each, handle = holding(5)
    each.ask_back()
    assert (handle.recalls, each.capacity) == (1, 1)
    answers(each, 1)
    assert each.capacity == 5


@pytest.mark.parametrize("wrong", [0, -1, 1001, 1.5, True, "many", None])
def test_a_prefetch_that_makes_no_sense_is_refused(wrong: Any) -> None:
    """When the configuration is made."""
    with pytest.raises((TypeError, ValueError), match="prefetch is"):
        PoolConfig(prefetch=wrong)

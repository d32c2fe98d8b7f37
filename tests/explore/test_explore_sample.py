"""A sample of each scenario in every run of the tests; ``nox -s explore`` does them in full."""

from __future__ import annotations

import math

import pytest
from scenarios import scenarios

from trio_folk._pool import feeding, mapping, stream
from trio_folk.runtimes import _channel
from trio_folk.testing import explore_cancellation

POINTS = 12  # of each scenario and as many inside clean-ups: seconds for all of them


@pytest.fixture(autouse=True)
def turns_do_not_depend_on_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due after so many microseconds is due in one run and not in the next, which then misses that point."""
    for module in (_channel, mapping, stream):
        monkeypatch.setattr(module, "FAIRNESS", -1.0)  # each turn is due
    monkeypatch.setattr(mapping, "BURST", -1.0)
    monkeypatch.setattr(feeding, "BURST", math.inf)  # a burst ends when it has all


@pytest.mark.parametrize("name", scenarios("task"))
def test_cancelled_anywhere_it_leaves_nothing(name: str) -> None:
    """Cancelled at a few points spread over the whole, each of them leaves nothing, and its pool serves."""
    scenario = scenarios("task")[name]
    done = explore_cancellation(scenario.fn, seeds=[1], max_points=POINTS, **scenario.options("task"))
    print(done)
    assert done.unreached == ()
    assert done.reached >= min(POINTS, done.points)

"""A sample of each scenario in every run of the tests; ``nox -s explore`` does them in full."""

from __future__ import annotations

import pytest
from scenarios import scenarios

from trio_folk.testing import explore_cancellation

POINTS = 12  # of each scenario and as many inside clean-ups: seconds for all of them


@pytest.mark.parametrize("name", scenarios("task"))
def test_cancelled_anywhere_it_leaves_nothing(name: str) -> None:
    """Cancelled at a few points spread over the whole, each of them leaves nothing, and its pool serves."""
    scenario = scenarios("task")[name]
    done = explore_cancellation(scenario.fn, seeds=[1], max_points=POINTS, **scenario.options("task"))
    print(done)
    assert done.unreached == ()
    assert done.reached >= min(POINTS, done.points)

"""The flow of a stream: windows in items and in bytes, credit in portions, and no item without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_folk import ProtocolError
from trio_folk.runtimes._flow import FIRST, ROOM, Flow


def test_the_first_item_comes_alone_and_then_the_window_opens() -> None:
    """Nobody knows how large the first is; it says what the others may be."""
    flow = Flow(16)
    flow.put("first", 10)
    assert flow.due() == 15
    assert flow.due() == 0
    assert flow.take() == "first"
    assert flow.due() == 0  # one item is not worth a message


def test_credit_is_granted_when_half_of_the_window_is_free() -> None:
    """Eight items, one message."""
    flow = Flow(16)
    granted = FIRST
    messages = 0
    for number in range(1000):
        flow.put(number, 10)
        granted -= 1
        while more := flow.due():
            granted += more
            messages += 1
        assert flow.take() == number
        while more := flow.due():
            granted += more
            messages += 1
    assert messages < 1000 / 7
    assert 1 <= granted <= 16


def test_an_item_beyond_the_credit_is_a_breach() -> None:
    """Whoever sends it cannot count."""
    flow = Flow(16)
    flow.put(1, 1)
    with pytest.raises(ProtocolError, match="beyond its credit"):
        flow.put(2, 1)


def test_large_items_come_one_by_one() -> None:
    """A window of sixteen of them would be as many times their size."""
    flow = Flow(16)
    flow.put("large", ROOM)
    assert flow.due() == 0
    flow.take()
    assert flow.due() == 1


@given(
    window=st.integers(1, 40),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 2 * ROOM)), max_size=200),
)
def test_bounds_hold_whatever_comes_and_is_taken(window: int, steps: list[tuple[bool, int]]) -> None:
    """Never more than the window is out or waits; nothing waits and nothing is out: credit is due."""
    flow = Flow(window)
    credit, sizes = FIRST, []
    for comes, size in steps:
        if comes and credit:
            flow.put(size, size)
            sizes.append(size)
            credit -= 1
        elif sizes:
            assert flow.take() == sizes.pop(0)
        credit += flow.due()
        assert len(flow) == len(sizes)
        assert credit + len(flow) <= window
        assert credit or sizes

"""map: lazy, windowed, in order or as they come, and over when its block is."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator

import outcome
import pytest
import trio

from trio_folk import TaskRuntime, open_pool


async def test_results_come_in_the_order_of_the_items(autojump_clock: trio.testing.MockClock) -> None:
    """From one iterable or several, until the shortest ends."""
    async with open_pool(TaskRuntime(), slots=3) as pool:
        async with pool.map(math.sqrt, (n * n for n in range(50))) as results:
            assert [each async for each in results] == list(range(50))
        async with pool.map(operator.add, itertools.count(), [10, 20, 30]) as results:
            assert [each async for each in results] == [10, 21, 32]
        async with pool.map(abs, []) as results:
            assert [each async for each in results] == []


async def test_unordered_results_are_the_same_results(autojump_clock: trio.testing.MockClock) -> None:
    """As they come."""
    async with open_pool(TaskRuntime(), slots=3) as pool:
        async with pool.map(abs, range(-50, 0), ordered=False) as results:
            assert sorted([each async for each in results]) == list(range(1, 51))


@pytest.mark.parametrize("ordered", [True, False])
async def test_no_more_items_are_taken_than_the_window_holds(
    autojump_clock: trio.testing.MockClock, ordered: bool
) -> None:
    """An infinite iterable is read only as fast as its results are taken."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    async with open_pool(TaskRuntime(), slots=2) as pool:
        async with pool.map(abs, items(), window=5, ordered=ordered) as results:
            await trio.sleep(1)
            assert taken == 5
            for handed_out in range(1, 20):
                await results.__anext__()
                await trio.sleep(1)
                assert taken == 5 + handed_out
        assert pool.statistics().queued == 0


async def test_the_first_error_is_raised_as_itself_and_ends_the_map(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After the results before it; no further item is taken; it leaves the block bare."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(3, -50, -1):
            taken.append(number)
            yield number

    seen = []
    async with open_pool(TaskRuntime(), slots=1) as pool:
        with pytest.raises(ValueError, match="math domain error"):
            async with pool.map(math.sqrt, items(), window=2) as results:
                async for each in results:
                    seen.append(each)
        assert len(seen) == 4
        assert min(taken) >= -4


async def test_outcomes_hand_out_failures_as_values(autojump_clock: trio.testing.MockClock) -> None:
    """One bad item fails alone."""
    async with open_pool(TaskRuntime(), slots=2) as pool:
        async with pool.map(math.sqrt, [4, -1, 9], outcomes=True) as results:
            good, bad, last = [each async for each in results]
    assert good == outcome.Value(2.0)
    assert last == outcome.Value(3.0)
    assert isinstance(bad, outcome.Error)
    assert isinstance(bad.error, ValueError)


async def test_an_error_of_the_iterable_is_raised_after_what_came_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is the user's own."""

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("no more")

    seen = []
    async with open_pool(TaskRuntime(), slots=2) as pool:
        with pytest.raises(KeyError, match="no more"):
            async with pool.map(abs, items()) as results:
                async for each in results:
                    seen.append(each)
    assert seen == [1, 2]


async def test_leaving_early_cancels_the_rest(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing runs on, and the pool serves as before."""
    async with open_pool(TaskRuntime(), slots=2) as pool:
        async with pool.map(abs, itertools.count()) as results:
            async for each in results:
                if each == 10:
                    break
        await pool.wait_ready(2)
        assert await pool.run_sync(abs, -1) == 1
        statistics = pool.statistics()
        assert (statistics.queued, statistics.running) == (0, 0)


async def test_a_map_without_items_or_room_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """Where it is written."""
    async with open_pool(TaskRuntime(), slots=1) as pool:
        with pytest.raises(TypeError, match="at least one iterable"):
            pool.map(abs)
        with pytest.raises(ValueError, match="window is at least 1"):
            pool.map(abs, [1], window=0)

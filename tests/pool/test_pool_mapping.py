"""map: lazy, windowed, in order or as they come, and over when its block is."""

from __future__ import annotations

import itertools
import math
import operator
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import outcome
import pytest
import trio

from trio_folk import PoolConfig, RemoteError, TaskRuntime, open_pool
from trio_folk._pool import feeding
from trio_folk._pool.feeding import Feed
from trio_folk.abc import Traits
from trio_folk.testing import FaultyRuntime


class InProcess:
    """A function that finds itself again where it is unpickled: workers that are tasks share its closure."""

    known: ClassVar[dict[int, Callable[..., Any]]] = {}

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.known[id(fn)] = fn
        self.key = id(fn)

    def __call__(self, *args: Any) -> Any:
        return self.known[self.key](*args)


class Unloadable:
    """Pickles, and cannot be rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


def fickle(number: int) -> object:
    """Answer, or not, in every way there is."""
    match number % 10:
        case 1:
            raise LookupError(number)
        case 2:
            return threading.Lock()
        case 3:
            raise trio.TooSlowError
        case 4:
            raise SystemExit(number)
        case 5:
            return Unloadable()
        case 6:
            return 1 << 100
    return number


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
        for chunk in (0, "automatic", 2.5):
            with pytest.raises(ValueError, match="chunk is at least 1"):
                pool.map(abs, [1], chunk=chunk)  # type: ignore[call-overload]


async def test_a_chunk_is_one_call(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of as many items as were asked for, where the iterable gives them in one burst; 1 is a call an item."""
    monkeypatch.setattr(feeding, "BURST", math.inf)
    for chunk, calls in ((1, 100), (10, 10), (1000, 1)):
        async with open_pool(runtime := FaultyRuntime(), slots=2) as pool:
            async with pool.map(abs, range(-100, 0), chunk=chunk, window=1000) as results:
                assert [each async for each in results] == list(range(100, 0, -1))
            assert len(runtime.calls) == calls
            assert pool.statistics().succeeded == 100


async def test_chunks_grow_while_items_are_tiny(autojump_clock: trio.testing.MockClock) -> None:
    """And are never larger than the window can keep every slot supplied with."""
    async with open_pool(runtime := FaultyRuntime(), slots=2) as pool:
        async with pool.map(abs, range(5000)) as results:
            assert [each async for each in results] == list(range(5000))
        assert len(runtime.calls) < 1000
    async with open_pool(runtime := FaultyRuntime(), slots=2) as pool:
        async with pool.map(abs, range(100), window=7) as results:
            assert len([each async for each in results]) == 100
        assert len(runtime.calls) == 100


async def test_a_chunk_that_turns_out_slow_hands_back_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And the chunks that follow are small: twenty slow items, behind many fast ones, are not one call."""
    before: list[int] = []

    def slow_in_the_end(number: int) -> int:
        if number >= 2000:
            before.append(len(runtime.calls))
            time.sleep(0.02)
        return number

    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool:
        async with pool.map(InProcess(slow_in_the_end), range(2020)) as results:
            assert [each async for each in results] == list(range(2020))
    assert before[-1] - before[0] >= 15


async def test_items_with_a_clock_travel_alone(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is the map's or the pool's; unless the chunk is fixed."""
    monkeypatch.setattr(feeding, "BURST", math.inf)
    for config, seconds in ((PoolConfig(slots=1), 9.0), (PoolConfig(slots=1, exec_timeout=9), None)):
        async with open_pool(runtime := FaultyRuntime(), config=config) as pool:
            async with pool.map(abs, range(50), exec_timeout=seconds) as results:
                assert len([each async for each in results]) == 50
            assert len(runtime.calls) == 50
            async with pool.map(abs, range(50), exec_timeout=seconds, chunk=25) as results:
                assert len([each async for each in results]) == 50
            assert len(runtime.calls) == 52


@pytest.mark.parametrize("chunk", [1, 10])
async def test_whatever_becomes_of_an_item_is_its_own(
    autojump_clock: trio.testing.MockClock, chunk: int
) -> None:
    """Exceptions, results that cannot travel either way, trio's errors and exits: in a chunk as in a call."""
    async with open_pool(TaskRuntime(), slots=1, name="mixed") as pool:
        async with pool.map(fickle, range(20), outcomes=True, chunk=chunk, window=20) as results:
            found = [each async for each in results]
        statistics = pool.statistics()
    for number, each in enumerate(found):
        place = number % 10
        if place not in (1, 2, 3, 4, 5):
            assert each == outcome.Value(1 << 100 if place == 6 else number)
            continue
        assert isinstance(each, outcome.Error)
        if place == 1:
            assert isinstance(each.error, LookupError)
            assert each.error.args == (number,)
            (note,) = each.error.__notes__
            assert note.startswith("In the worker:\nTraceback")
            assert note.count("  File ") == 1
            assert "raise LookupError(number)" in note
        else:
            assert type(each.error) is RemoteError
            names = ["TypeError", "trio.TooSlowError", "SystemExit", ""]
            assert each.error.remote_type == names[place - 2]
            assert (each.error.worker, each.error.generation) == ("mixed/0.1", 0) or place == 5
    assert (statistics.succeeded, statistics.failed) == (10, 10)


async def test_arguments_that_cannot_travel_fail_alone(autojump_clock: trio.testing.MockClock) -> None:
    """Those that have no pickle, and those that cannot be rebuilt; whatever the size of the chunks."""
    items = [1, threading.Lock(), 2.5, Unloadable(), "text", threading.Lock(), None]
    for chunk in (1, 3, 7):
        async with open_pool(TaskRuntime(), slots=1) as pool:
            async with pool.map(repr, items, outcomes=True, chunk=chunk) as results:
                found = [each async for each in results]
        assert [type(each) for each in found].count(outcome.Error) == 3
        assert [each.unwrap() for each in found[::2]][:2] == ["1", "2.5"]
        assert "cannot be sent to a worker" in str(found[1].error)  # type: ignore[union-attr]
        assert "could not be unpickled in the worker" in str(found[3].error)  # type: ignore[union-attr]


async def test_items_share_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """An argument that one item changes is untouched for the next; results are no aliases of each other."""
    async with open_pool(TaskRuntime(), slots=1) as pool:
        async with pool.map(grow, itertools.repeat([]), range(10), chunk=10) as results:
            found = [each async for each in results]
        assert found == [[number] for number in range(10)]
        async with pool.map(the_same, range(10), chunk=10) as results:
            found = [each async for each in results]
        assert len({id(each) for each in found}) == 10


def grow(numbers: list[int], number: int) -> list[int]:
    numbers.append(number)
    return numbers


SHARED: list[int] = []


def the_same(_: int) -> list[int]:
    return SHARED


async def test_after_a_failure_nothing_more_of_its_chunk_is_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its error is raised, so nobody wants them."""
    ran.clear()
    async with open_pool(TaskRuntime(), slots=1) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.map(note_and_divide, range(10, -90, -1), chunk=100) as results:
                assert [each async for each in results]
    assert ran == list(range(10, -1, -1))


ran: list[int] = []


def note_and_divide(number: int) -> float:
    ran.append(number)
    return 1 / number


async def test_items_may_be_awaited_for(autojump_clock: trio.testing.MockClock) -> None:
    """From a channel, endless, beside an ordinary iterable; what has come is run while the rest is awaited."""
    send, receive = trio.open_memory_channel[int](0)
    async with open_pool(TaskRuntime(), slots=2) as pool, trio.open_nursery() as nursery:
        async with pool.map(operator.add, receive, itertools.count()) as results:
            for number in range(5):
                nursery.start_soon(send.send, number)
                with trio.fail_after(1):
                    assert await results.__anext__() == 2 * number
            send.close()
            with pytest.raises(StopAsyncIteration):
                await results.__anext__()


async def test_a_stuck_source_is_left_with_the_block(autojump_clock: trio.testing.MockClock) -> None:
    """The generator that waits is told by its cancellation."""
    ended = []

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with open_pool(TaskRuntime(), slots=1) as pool:
        async with pool.map(abs, items()) as results:
            assert await results.__anext__() == 1
            await trio.testing.wait_all_tasks_blocked()
        assert ended == [True]


async def test_an_awaited_source_is_read_no_faster_than_the_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Although it never waits; and others get their turn meanwhile."""
    taken = 0

    async def items() -> AsyncIterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    source = items()
    async with open_pool(TaskRuntime(), slots=2) as pool:
        async with pool.map(abs, source, window=40) as results:
            for number in range(100):
                assert await results.__anext__() == number
                assert taken <= number + 1 + 40
            await trio.sleep(1)
            assert taken == 140
    await source.aclose()  # type: ignore[attr-defined]


async def test_progress_tells_what_is_finished(autojump_clock: trio.testing.MockClock) -> None:
    """Of how many, where that is known; at the end it always is."""
    told: list[tuple[int, int | None]] = []
    for items, known in ((range(100), 100), (iter(range(100)), None)):
        told.clear()
        async with open_pool(TaskRuntime(), slots=2) as pool:
            async with pool.map(abs, items, progress=lambda *each: told.append(each)) as results:
                assert len([each async for each in results]) == 100
        assert told == sorted(told, key=lambda each: each[0])
        assert told[0][1] == known
        assert told[-1] == (100, 100)


async def test_an_error_of_the_callback_ends_the_map(autojump_clock: trio.testing.MockClock) -> None:
    """It is raised to whoever iterates, bare, although the input never ends."""

    def progress(done: int, total: int | None) -> None:
        if done >= 10:
            raise RuntimeError("the bar is broken")

    async with open_pool(TaskRuntime(), slots=1) as pool:
        with pytest.raises(RuntimeError, match="the bar is broken"):
            async with pool.map(abs, itertools.count(), progress=progress) as results:
                async for each in results:
                    assert each < 1000


async def test_results_are_handed_out_by_turns(autojump_clock: trio.testing.MockClock) -> None:
    """Thousands that wait do not keep other tasks from theirs, and a cancellation is noticed at once."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_pool(TaskRuntime(), slots=1) as pool, trio.open_nursery() as nursery:
        async with pool.map(abs, range(2000), chunk=1000, window=2000) as results:
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(others)
            until = time.perf_counter() + 0.01
            before = turns
            while time.perf_counter() < until:
                await results.__anext__()
                time.sleep(0.0001)
            assert turns > before
            for _ in range(50):  # most of them come when nobody else's turn is due
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await results.__anext__()
                assert scope.cancelled_caught
                await results.__anext__()
        nursery.cancel_scope.cancel()


def test_a_slow_iterable_is_left_after_a_burst() -> None:
    """The loop does not stand still until a chunk of it is full."""
    feed = Feed(((time.sleep(0.001) for _ in range(100)),))
    into: deque[tuple[Any, ...]] = deque()
    assert feed.take(100, into)
    assert 1 <= len(into) < 100


class OneByOne(TaskRuntime):
    """A runtime as one may write it: it knows of no chunks."""

    def prepare_chunk(self, *_: object, **__: object) -> None:
        return None


class NoPython(TaskRuntime):
    """Workers in another language."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(processes=False)


async def test_a_runtime_need_not_know_of_chunks(autojump_clock: trio.testing.MockClock) -> None:
    """Each item is a call then."""
    async with open_pool(OneByOne(), slots=2) as pool:
        async with pool.map(abs, range(-50, 0)) as results:
            assert [each async for each in results] == list(range(50, 0, -1))
        assert sum(slot.jobs for slot in pool.statistics().slots) == 50


@pytest.mark.parametrize("chunk", [1, "auto"])
async def test_workers_that_run_no_python_are_named(
    autojump_clock: trio.testing.MockClock, chunk: Any
) -> None:
    """With what to do instead."""
    async with open_pool(NoPython(), slots=1) as pool:
        with pytest.raises(TypeError, match="do not run Python functions"):
            async with pool.map(abs, [1], chunk=chunk) as results:
                await results.__anext__()


async def test_closures_travel_with_their_chunk(autojump_clock: trio.testing.MockClock) -> None:
    """By value."""
    base = 1000
    async with open_pool(TaskRuntime(), slots=2) as pool:
        async with pool.map(lambda number: number + base, range(300)) as results:
            assert [each async for each in results] == list(range(1000, 1300))


async def test_large_items_make_small_chunks(autojump_clock: trio.testing.MockClock) -> None:
    """A chunk never outgrows a frame, either way; an item that does fails alone."""
    items = [b"x" * 5000] * 20 + [b"x" * 70000] + [b"y"]
    async with open_pool(TaskRuntime(max_frame=1 << 16), slots=1) as pool:
        async with pool.map(len, items, outcomes=True, chunk=100, window=100) as results:
            found = [each async for each in results]
        assert [each.unwrap() for each in (*found[:20], found[21])] == [5000] * 20 + [1]
        assert "a frame at most" in str(found[20].error)  # type: ignore[union-attr]
        async with pool.map(os.urandom, [5000] * 20 + [70000, 3], outcomes=True, chunk=100) as results:
            found = [each async for each in results]
        assert [len(each.unwrap()) for each in (*found[:20], found[21])] == [5000] * 20 + [3]
        assert "is too large" in str(found[20].error)  # type: ignore[union-attr]
        async with pool.map(abs, [10**300] * 500, chunk=500) as results:
            assert [each async for each in results] == [10**300] * 500

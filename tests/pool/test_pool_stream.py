"""Streams over a pool: items, errors, ends and bounds. Under a mocked clock, with workers that are tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_folk import (
    ApplicationError,
    ExecTimeout,
    FolkError,
    PoolBusy,
    PoolClosed,
    PoolConfig,
    QueueTimeout,
    TaskRuntime,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.testing import FaultyRuntime
from trio_folk.worker import Worker, current_call


def make() -> tuple[Worker, list[Any]]:
    """A worker of methods that yield, and what they did."""
    worker = Worker()
    did: list[Any] = []

    @worker.method
    async def count(number: int, pause: float = 0) -> AsyncIterator[int]:
        try:
            for each in range(number):
                did.append(each)
                yield each
                await trio.sleep(pause)
        finally:
            did.append("closed")

    @worker.method
    def plain(number: int) -> Iterator[int]:
        try:
            yield from range(number)
        finally:
            did.append("closed")

    @worker.method
    async def fails(after: int) -> AsyncIterator[int]:
        for each in range(after):
            yield each
        raise LookupError("no more rows")

    @worker.method
    async def fails_to_close() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise OSError("the disk is full")

    @worker.method
    async def never_closes() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await trio.sleep_forever()

    @worker.method
    async def reports(steps: int) -> AsyncIterator[int]:
        for step in range(steps):
            current_call().progress(step + 1, steps)
            yield step
            await trio.sleep(1)

    @worker.method
    async def work(seconds: float) -> float:
        try:
            for each in range(10):
                await trio.sleep(seconds / 10)
                current_call().progress(each + 1, 10)
        except trio.Cancelled:
            did.append("cancelled")
            raise
        return seconds

    @worker.method
    async def echo_later(value: object) -> object:
        await trio.sleep(1)
        return value

    return worker, did


async def all_of(pool: WorkerPool, method: str, params: object = None, **options: Any) -> list[Any]:
    async with pool.stream(method, params, **options) as items:
        return [item async for item in items]


@pytest.mark.parametrize("method", ["count", "plain"])
@pytest.mark.parametrize("window", [1, 2, 16, 1000])
async def test_items_come_in_order_whatever_the_window(
    autojump_clock: MockClock, method: str, window: int
) -> None:
    """Each once; it counts as one call."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        assert await all_of(pool, method, [100], window=window) == list(range(100))
        seen = pool.statistics()
        assert (seen.succeeded, seen.running, seen.slots[0].jobs) == (1, 0, 1)
        assert await all_of(pool, method, [0]) == []
    assert did[-2:] == ["closed", "closed"] if method == "plain" else "closed"


async def test_a_slow_reader_makes_a_slow_generator(autojump_clock: MockClock) -> None:
    """It is never further than the window."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("count", [100], window=4) as items:
            async for item in items:
                await trio.sleep(1)
                assert did[-1] == "closed" or did[-1] <= item + 5


@pytest.mark.parametrize("method", ["count", "plain"])
async def test_a_stream_that_is_left_early_is_closed_and_its_worker_stays(
    autojump_clock: MockClock, method: str
) -> None:
    """By break: nothing is raised, and the call has succeeded."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream(method, [1000]) as items:
            async for item in items:
                if item == 3:
                    break
        assert did[-1] == "closed"
        assert await pool.execute("echo", 1) == 1
        seen = pool.statistics()
        assert (seen.succeeded, seen.cancelled, seen.spawned) == (2, 0, 1)


async def test_a_generator_that_waits_inside_is_ended_too(autojump_clock: MockClock) -> None:
    """For the next item it would take an hour."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        start = trio.current_time()
        async with pool.stream("count", [2, 3600]) as items:
            assert await anext(items) == 0
        assert trio.current_time() - start < 1
        assert did == [0, "closed"]
        assert pool.statistics().spawned == 1


async def test_the_blocks_own_exception_leaves_bare(autojump_clock: MockClock) -> None:
    """The generator is closed before."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pytest.raises(KeyError):
            async with pool.stream("count", [1000]) as items:
                async for _ in items:
                    raise KeyError
        assert did[-1] == "closed"
        assert pool.statistics().spawned == 1


async def test_a_failure_comes_after_the_items(autojump_clock: MockClock) -> None:
    """Raised once; then the stream is at its end."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("fails", [2]) as items:
            assert [await anext(items), await anext(items)] == [0, 1]
            with pytest.raises(ApplicationError, match="no more rows"):
                await anext(items)
            assert [item async for item in items] == []
        with pytest.raises(ApplicationError, match="no more rows"):
            await all_of(pool, "fails", [0])
        assert pool.statistics().failed == 2


async def test_what_a_generator_does_beyond_its_reader_is_nobodys(autojump_clock: MockClock) -> None:
    """It failed at the third item; the reader left at the first."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("fails", [2]) as items:
            assert await anext(items) == 0
            await wait_all_tasks_blocked()


async def test_what_the_closing_raises_is_raised(autojump_clock: MockClock) -> None:
    """From the block's end; where the block has an exception of its own, as a note."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pytest.raises(ApplicationError, match="the disk is full"):
            async with pool.stream("fails_to_close") as items:
                await anext(items)
        with pytest.raises(KeyError) as caught:
            async with pool.stream("fails_to_close") as items:
                await anext(items)
                raise KeyError
        assert "the disk is full" in caught.value.__notes__[0]
        assert pool.statistics().spawned == 1


async def test_a_clean_up_without_end_costs_the_worker(autojump_clock: MockClock) -> None:
    """After cancel_grace; the block is left without an error."""
    worker, _ = make()
    config = PoolConfig(slots=1, cancel_grace=3)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        start = trio.current_time()
        async with pool.stream("never_closes") as items:
            await anext(items)
        assert trio.current_time() - start == pytest.approx(3)
        assert await pool.execute("echo", 1) == 1
        seen = pool.statistics()
        assert (seen.cancelled, seen.spawned) == (1, 2)


async def test_a_cancelled_wait_for_an_item_loses_none(autojump_clock: MockClock) -> None:
    """The stream goes on until its block is left."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("count", [3, 10]) as items:
            assert await anext(items) == 0
            with trio.move_on_after(5) as scope:
                await anext(items)
            assert scope.cancelled_caught
            assert [item async for item in items] == [1, 2]


async def test_a_cancelled_block_cancels_the_stream(autojump_clock: MockClock) -> None:
    """Its worker stays, for the generator ended in time."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with trio.move_on_after(5) as scope:
            await all_of(pool, "count", [100, 3600])
        assert scope.cancelled_caught
        assert did == [0, "closed"]
        seen = pool.statistics()
        assert (seen.cancelled, seen.spawned) == (1, 1)


async def test_a_shielded_reader_of_a_cancelled_stream_is_told(autojump_clock: MockClock) -> None:
    """An end without a word would pass for the end of the items."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with trio.CancelScope() as scope:
            async with pool.stream("count", [100, 10]) as items:
                assert await anext(items) == 0
                scope.cancel()
                with trio.CancelScope(shield=True), pytest.raises(FolkError, match="was cancelled"):
                    await anext(items)


async def test_items_are_not_to_be_had_after_the_block(autojump_clock: MockClock) -> None:
    """Those that waited are dropped."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("count", [9]) as items:
            await wait_all_tasks_blocked()
            assert "waiting" in repr(items)
        with pytest.raises(RuntimeError, match="block was left"):
            await anext(items)
        assert "left" in repr(items)


async def test_two_readers_share_the_items(autojump_clock: MockClock) -> None:
    """Each item reaches one of them, and both hear of the end."""
    worker, _ = make()
    found: list[int] = []

    async def read(items: Any) -> None:
        async for item in items:
            found.append(item)

    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("count", [20, 1]) as items, trio.open_nursery() as nursery:
            nursery.start_soon(read, items)
            nursery.start_soon(read, items)
    assert sorted(found) == list(range(20))


async def test_the_clock_runs_for_the_whole_stream(autojump_clock: MockClock) -> None:
    """ExecTimeout after the items that had come; the worker is ended."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        found = []
        with pytest.raises(ExecTimeout):
            async with pool.stream("count", [100, 1], exec_timeout=3.5) as items:
                async for item in items:
                    found.append(item)
        assert found == [0, 1, 2, 3]
        assert pool.statistics().exec_timeouts == 1
        assert await pool.execute("echo", 1) == 1
        assert pool.statistics().spawned == 2


async def test_a_stream_holds_its_slot_and_waits_for_one(autojump_clock: MockClock) -> None:
    """The three refusals come when the block is entered."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.stream("count", [9, 3600]) as items:
            await anext(items)
            with pytest.raises(PoolBusy):
                await pool.execute("echo", 1, queue_timeout=0)
            with pytest.raises(PoolBusy):
                async with pool.stream("count", [9], queue_timeout=0):
                    raise AssertionError("never entered")
            with pytest.raises(QueueTimeout):
                async with pool.stream("count", [9], queue_timeout=2):
                    raise AssertionError("never entered")
        await pool.drain()
        with pytest.raises(PoolClosed):
            async with pool.stream("count", [9]):
                raise AssertionError("never entered")


async def test_a_stream_that_is_withdrawn_from_the_queue_never_runs(autojump_clock: MockClock) -> None:
    """Cancelled while it is entered."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "echo_later", 1)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.5) as scope:
            await all_of(pool, "count", [9])
        assert scope.cancelled_caught
        assert did == []


async def test_a_lease_streams_from_its_worker(autojump_clock: MockClock) -> None:
    """One call after another, a stream among them."""
    worker, _ = make()
    async with open_pool(TaskRuntime(worker), slots=2) as pool, pool.lease() as leased:
        async with leased.stream("count", [5]) as items:
            assert [item async for item in items] == list(range(5))
        async with leased.stream("count", [5]) as items:
            assert await anext(items) == 0
        assert await leased.execute("echo", 1) == 1
        assert await leased.execute("work", [1], progress=lambda done, total: None) == 1


async def test_a_death_ends_the_stream_after_its_items(autojump_clock: MockClock) -> None:
    """WorkerDied, with advice for streams; it is not run again."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), config=PoolConfig(slots=1, min_uptime=0)) as pool:
        with pytest.raises(WorkerDied) as caught:
            async with pool.stream("count", [100, 10]) as items:
                assert await anext(items) == 0
                handle = pool._core.slots[0].incarnation.handle  # type: ignore[union-attr]
                handle.terminate("the test says so")
                await anext(items)
        assert "open another stream" in (caught.value.hint or "")
        assert did.count(0) == 1


async def test_the_wrong_kind_of_call_says_which_is_right(autojump_clock: MockClock) -> None:
    """For both kinds; the worker is unharmed."""
    worker, did = make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pytest.raises(ApplicationError, match=r"call it with stream\(\)"):
            await pool.execute("count", [3])
        with pytest.raises(ApplicationError, match=r"call it with execute\(\)"):
            await all_of(pool, "echo_later", 1)
        with pytest.raises(ApplicationError, match="did you mean 'count'"):
            await all_of(pool, "cuont", [3])
        assert did == []
        assert pool.statistics().spawned == 1


async def test_what_makes_no_sense_is_refused_at_once(autojump_clock: MockClock) -> None:
    """Before a slot is asked for; and by runtimes that do not stream."""
    async with open_pool(TaskRuntime(make()[0]), slots=1) as pool:
        with pytest.raises(ValueError, match="window"):
            pool.stream("count", [3], window=0)
        with pytest.raises(TypeError):
            pool.stream("count", [object()])
        with pytest.raises(ValueError, match="exec_timeout"):
            await all_of(pool, "count", [3], exec_timeout=0)
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(FolkError, match="does not stream"):
            await all_of(pool, "count", [3])


async def test_several_streams_share_a_worker(autojump_clock: MockClock) -> None:
    """Each gets its own items, and a slow reader holds up nobody."""
    worker = Worker(concurrency=3)

    @worker.method
    async def twice(number: int) -> AsyncIterator[list[int]]:
        for each in range(50):
            yield [number, each]

    async def read(pool: WorkerPool, number: int) -> None:
        async with pool.stream("twice", [number], window=number + 1) as items:
            found = []
            async for item in items:
                found.append(item)
                await trio.sleep(number)
        assert found == [[number, each] for each in range(50)]

    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(read, pool, number)

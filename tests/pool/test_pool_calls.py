"""One call, one outcome; three clocks that never mix. Under a mocked clock, with workers that are tasks."""

from __future__ import annotations

import threading

import pool_worker
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    ApplicationError,
    ExecTimeout,
    PoolBusy,
    PoolConfig,
    QueueTimeout,
    TaskRuntime,
    WorkerDied,
    open_pool,
)


async def test_a_slow_call_holds_back_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """One call of 3 s and 500 of a millisecond on 4 slots: all 500 are done long before it."""
    worker, _ = pool_worker.make()
    done = []
    async with open_pool(TaskRuntime(worker), slots=4) as pool, trio.open_nursery() as nursery:
        start = trio.current_time()

        async def call(seconds: float) -> None:
            await pool.execute("sleep", seconds)
            done.append((seconds, trio.current_time() - start))

        nursery.start_soon(call, 3.0)
        for _ in range(500):
            nursery.start_soon(call, 0.001)
    fast = [when for seconds, when in done if seconds < 1]
    assert len(fast) == 500
    assert max(fast) < 1.5


async def test_waiting_calls_are_served_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """First come, first served."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(pool.execute, "note", number)
            await wait_all_tasks_blocked()
    assert began == list(range(20))


async def test_a_withdrawn_call_never_runs(autojump_clock: trio.testing.MockClock) -> None:
    """Cancelled while it waits: the worker never hears of it, and lives on."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 2)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await pool.execute("note", "withdrawn")
        assert scope.cancelled_caught
        assert pool.statistics().queued == 0
        assert await pool.execute("note", "next") == "next"
        assert pool.statistics().spawned == 1
    assert began == [2, "next"]


async def test_a_call_whose_caller_is_cancelled_already_is_never_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Even where a worker is idle; and the worker is unharmed."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.execute("note", "never")
        assert scope.cancelled_caught
        assert began == []
        assert pool.statistics().spawned == 1
        assert pool.statistics().slots[0].running == 0


async def test_queue_timeout_is_the_wait_for_a_slot_alone(autojump_clock: trio.testing.MockClock) -> None:
    """It passes while the call waits, and not while it runs."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 5)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(QueueTimeout, match="no slot of pool 'pool' took the call in time"):
            await pool.execute("note", "late", queue_timeout=2)
        assert trio.current_time() - start == pytest.approx(2)
        assert await pool.execute("sleep", 9, queue_timeout=4) == 9  # waits 3, runs 9
    assert "late" not in began
    assert isinstance(QueueTimeout(), trio.TooSlowError)


async def test_a_call_that_may_not_wait_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """queue_timeout=0: PoolBusy at once, which is also trio.WouldBlock."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        assert await pool.execute("note", 1, queue_timeout=0) == 1
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock) as caught:
            await pool.execute("note", 2, queue_timeout=0)
        assert isinstance(caught.value, PoolBusy)
        assert pool.statistics().refused == 1


async def test_the_queue_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """One more than max_queue is refused; those within it are served."""
    worker, began = pool_worker.make()
    config = PoolConfig(slots=1, max_queue=2)
    async with open_pool(TaskRuntime(worker), config=config) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(pool.execute, "note", 1)
        nursery.start_soon(pool.execute, "note", 2)
        await wait_all_tasks_blocked()
        with pytest.raises(PoolBusy, match="2 calls wait already"):
            await pool.execute("note", 3)
    assert began == [1, 1, 2] or began == [1, 2, 1]


async def test_exec_timeout_counts_from_the_start_of_the_run(autojump_clock: trio.testing.MockClock) -> None:
    """The wait before it does not count; the worker is ended and replaced."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 5)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(ExecTimeout, match="exec_timeout of 2 s") as caught:
            await pool.execute("sleep", 60, exec_timeout=2)
        assert trio.current_time() - start == pytest.approx(7)
        assert caught.value.worker == "pool/0.1"
        assert isinstance(caught.value, trio.TooSlowError)
        assert await pool.execute("note", "next") == "next"
        assert pool.statistics().slots[0].worker == "pool/0.2"
        assert pool.statistics().deaths == 0


async def test_short_calls_do_not_set_off_a_long_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """The alarm that earlier calls left behind rings early, and hurts nobody."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=1, exec_timeout=10)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        for _ in range(10):
            await pool.execute("sleep", 4)
        assert await pool.execute("sleep", 9.9) == 9.9
        with pytest.raises(ExecTimeout):
            await pool.execute("sleep", 10.1)
        assert await pool.execute("sleep", 30, exec_timeout=31) == 30


async def test_one_timeout_takes_its_neighbours_down_by_name(autojump_clock: trio.testing.MockClock) -> None:
    """A worker with two calls: the late one gets ExecTimeout, the other WorkerDied with that reason."""
    worker, _ = pool_worker.make(concurrency=2)
    seen: dict[str, object] = {}
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:

        async def call(name: str, timeout: float) -> None:
            try:
                await pool.execute("sleep", 60, exec_timeout=timeout)
            except (ExecTimeout, WorkerDied) as error:
                seen[name] = error

        nursery.start_soon(call, "late", 2)
        nursery.start_soon(call, "neighbour", 30)
    assert isinstance(seen["late"], ExecTimeout)
    assert isinstance(seen["neighbour"], WorkerDied)
    assert "longer than its exec_timeout" in str(seen["neighbour"])


async def test_a_worker_runs_as_many_calls_as_it_declared(autojump_clock: trio.testing.MockClock) -> None:
    """Three at once on one slot; the fourth waits."""
    worker, began = pool_worker.make(concurrency=3)
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        assert began == [1, 1, 1]
        assert pool.statistics().slots[0].running == 3
        assert pool.statistics().queued == 1


async def test_calls_go_to_idle_workers_before_busy_ones(autojump_clock: trio.testing.MockClock) -> None:
    """Two slots with room for two each: two calls are on two slots."""
    worker, _ = pool_worker.make(concurrency=2)
    async with open_pool(TaskRuntime(worker), slots=2) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        nursery.start_soon(pool.execute, "sleep", 1)
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        assert [slot.running for slot in pool.statistics().slots] == [1, 1]


async def test_an_error_of_the_application_harms_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """The worker is kept, and the error tells type, message and traceback."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pytest.raises(ApplicationError, match="broken") as caught:
            await pool.execute("fail", "broken")
        assert caught.value.remote_type == "ValueError"
        assert "pool_worker.py" in (caught.value.remote_traceback or "")
        with pytest.raises(ApplicationError, match="did you mean 'sleep'") as caught:
            await pool.execute("slep", 1)
        assert caught.value.code == -32601
        assert pool.statistics().spawned == 1
        assert pool.statistics().failed == 2


async def test_parameters_that_cannot_be_encoded_fail_before_a_slot_is_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Even while every slot is busy: at once."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 5)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(TypeError, match="object"):
            await pool.execute("note", object())
        with pytest.raises(TypeError, match="cannot"):
            await pool.run_sync(print, threading.Lock())
        assert trio.current_time() == start


async def test_a_loop_of_calls_lets_others_run(autojump_clock: trio.testing.MockClock) -> None:
    """However fast the replies come."""
    worker, _ = pool_worker.make()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100):
            await pool.execute("echo", 1)
        nursery.cancel_scope.cancel()
    assert turns >= 100


@pytest.mark.parametrize(
    ("timeouts", "says"),
    [
        ({"exec_timeout": 0}, "exec_timeout is more than 0"),
        ({"exec_timeout": -1}, "exec_timeout is more than 0"),
        ({"exec_timeout": float("nan")}, "exec_timeout is more than 0"),
        ({"queue_timeout": -1}, "queue_timeout is at least 0"),
        ({"queue_timeout": float("nan")}, "queue_timeout is at least 0"),
    ],
)
async def test_a_timeout_without_sense_is_refused_before_anything_is_sent(
    autojump_clock: trio.testing.MockClock, timeouts: dict[str, float], says: str
) -> None:
    """It would otherwise end a worker, or wait for ever."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pytest.raises(ValueError, match=says):
            await pool.execute("note", 1, **timeouts)  # type: ignore[arg-type]
        assert await pool.execute("note", 2) == 2
    assert began == [2]

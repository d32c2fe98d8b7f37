"""Healthy workers are replaced when they are due, one at a time, and no call notices."""

from __future__ import annotations

import pool_worker
import pytest
import trio

from trio_folk import ExecTimeout, PoolConfig, TaskRuntime, open_pool
from trio_folk.abc import WorkerExit


async def test_max_jobs_is_never_exceeded(autojump_clock: trio.testing.MockClock) -> None:
    """And jitter replaces workers earlier, at different counts."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=3, max_jobs=10, recycle_jitter=0.5)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        with pool.events() as events:
            async with trio.open_nursery() as nursery:

                async def caller() -> None:
                    for _ in range(50):
                        await pool.execute("sleep", 0.01)
                        assert all(slot.jobs <= 10 for slot in pool.statistics().slots)

                for _ in range(6):
                    nursery.start_soon(caller)
            reasons = [event.reason for event in events.nowait() if event.kind == "retiring"]
    assert len(reasons) >= 300 / 10 - 3
    counts = {reason for reason in reasons if reason}
    assert len(counts) > 1, "no jitter"
    assert all("max_jobs: it has had" in reason for reason in counts)
    assert pool.statistics().succeeded == 300
    assert pool.statistics().deaths == 0


async def test_max_jobs_of_one_gives_every_call_a_fresh_worker(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Strictly."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=2, max_jobs=1)
    async with open_pool(TaskRuntime(worker), config=config) as pool, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(pool.execute, "sleep", 0.01)
    assert pool.statistics().succeeded == 10
    assert pool.statistics().recycled == 10


async def test_an_idle_worker_grows_too_old(autojump_clock: trio.testing.MockClock) -> None:
    """ttl is watched by a clock, not by calls; age counts from ready."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=1, ttl=100, recycle_jitter=0)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        with pool.events() as events:
            await trio.sleep(99)
            assert pool.statistics().recycled == 0
            await trio.sleep(2)
            assert pool.statistics().recycled == 1
            await trio.sleep(300)
            assert pool.statistics().recycled == 4
            assert any(event.reason == "ttl: it is 100 s old" for event in events.nowait())


async def test_a_busy_worker_finishes_its_call_before_it_is_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is due in the middle of it."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=1, ttl=10, recycle_jitter=0)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        assert await pool.execute("sleep", 25) == 25
        assert await pool.execute("echo", "next") == "next"
        assert pool.statistics().recycled == 1
        assert pool.statistics().slots[0].worker == "pool/0.2"


async def test_no_two_healthy_slots_are_recycled_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Four workers of one age, each slow to boot: never fewer than three can serve."""
    worker, _ = pool_worker.make()

    class Slow(TaskRuntime):
        async def _be(self, birth: object, sockets: object) -> WorkerExit:
            await trio.sleep(3)
            return await super()._be(birth, sockets)  # type: ignore[arg-type]

    config = PoolConfig(slots=4, ttl=20, recycle_jitter=0)
    async with open_pool(Slow(worker), config=config) as pool:
        await pool.wait_ready(4)
        fewest = 4
        for _ in range(400):
            await trio.sleep(0.1)
            fewest = min(fewest, pool.statistics().ready)
        assert pool.statistics().recycled >= 4
    assert fewest == 3


async def test_a_runtime_may_forbid_recycling(autojump_clock: trio.testing.MockClock) -> None:
    """Then limits are not looked at."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=1, ttl=10, max_jobs=2)
    async with open_pool(TaskRuntime(worker, recyclable=False), config=config) as pool:
        for _ in range(10):
            await pool.execute("sleep", 5)
        assert pool.statistics().recycled == 0
        assert pool.statistics().spawned == 1


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_a_worker_with_several_calls_drains_them_before_it_stops(
    autojump_clock: trio.testing.MockClock, concurrency: int
) -> None:
    """All its calls are answered, and none is given more."""
    worker, began = pool_worker.make(concurrency)
    config = PoolConfig(slots=1, max_jobs=4, recycle_jitter=0)
    async with open_pool(TaskRuntime(worker), config=config) as pool, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(pool.execute, "sleep", 1)
    assert len(began) == 20
    assert pool.statistics().succeeded == 20
    assert pool.statistics().recycled == 5


async def test_a_worker_that_dies_in_its_very_last_call_is_replaced_like_any_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """max_jobs and a death at the same moment: one event for the slot, not two."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=2, max_jobs=1, min_uptime=0, cancel_grace=0)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        for number in range(10):
            with pytest.raises(ExecTimeout):
                await pool.execute("sleep", 60, exec_timeout=1)
            with trio.move_on_after(1):
                await pool.execute("sleep", 60)
            assert await pool.execute("note", number) == number
        statistics = pool.statistics()
        assert statistics.recycled == 20  # a call cancelled in its worker ends there, and was its last

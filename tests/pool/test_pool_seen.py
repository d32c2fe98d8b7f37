"""Leases, events, statistics, reprs, and waiting for readiness."""

from __future__ import annotations

import attrs
import pool_worker
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import ExecTimeout, PoolBusy, PoolConfig, TaskRuntime, WorkerDied, open_pool
from trio_folk._pool import SlotState


async def test_a_lease_is_one_worker_for_several_calls(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody else's call comes between."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease() as lease:
            assert lease.worker == "pool/0.1"
            nursery.start_soon(pool.execute, "note", "outside")
            await wait_all_tasks_blocked()
            await lease.execute("note", 1)
            assert await lease.run_sync(abs, -2) == 2
            await lease.execute("note", 3)
            with pytest.raises(PoolBusy):
                async with pool.lease(queue_timeout=0):
                    pytest.fail("two leases of one slot")
        with pytest.raises(RuntimeError, match="lease is over"):
            await lease.execute("note", 4)
    assert began == [1, 3, "outside"]


async def test_a_lease_is_not_moved_to_another_worker(autojump_clock: trio.testing.MockClock) -> None:
    """Its worker was ended by a timeout: the next call says so, and was not run."""
    worker, began = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        async with pool.lease() as lease:
            with pytest.raises(trio.TooSlowError):
                await lease.execute("sleep", 60, exec_timeout=1)
            with pytest.raises(WorkerDied, match="was not run") as caught:
                await lease.execute("note", "never")
            assert caught.value.hint == "take a new lease"
        assert await pool.execute("note", "next") == "next"
    assert "never" not in began


async def test_events_tell_a_workers_life_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """From spawning to ended, with the reason."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        with pool.events() as events:
            with pytest.raises(ExecTimeout):
                await pool.execute("sleep", 60, exec_timeout=1)
            await pool.execute("echo")
            await trio.sleep(1)
        told = [(event.kind, event.worker) for event in events.nowait()]
        assert told == []  # the block was left
        with pool.events() as events:
            with pytest.raises(ExecTimeout):
                await pool.execute("sleep", 60, exec_timeout=1)
            await pool.execute("echo")
            await trio.sleep(1)
            seen = events.nowait()
    told = [(event.kind, event.worker) for event in seen]
    assert told.index(("condemned", "pool/0.2")) < told.index(("spawning", "pool/0.3"))
    assert told.index(("spawning", "pool/0.3")) < told.index(("ready", "pool/0.3"))
    ended = next(event for event in seen if event.kind == "ended")
    assert "exec_timeout" in (ended.reason or "")
    assert ended.exit is not None


async def test_a_slow_listener_loses_events_and_never_the_pool(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What did not fit is counted."""
    worker, _ = pool_worker.make()
    config = PoolConfig(slots=1, max_jobs=1)
    async with open_pool(TaskRuntime(worker), config=config) as pool:
        with pool.events(buffer=3) as events:
            for _ in range(5):
                await pool.execute("echo")
            assert len(events.nowait()) == 3
            assert events.dropped >= 5
            assert "dropped" in repr(events)


async def test_events_end_with_the_pool(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever iterates over them is let go."""
    worker, _ = pool_worker.make()
    kinds = []
    async with trio.open_nursery() as nursery:
        async with open_pool(TaskRuntime(worker), slots=1) as pool:

            async def listen() -> None:
                with pool.events() as events:
                    async for event in events:
                        kinds.append(event.kind)

            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
    assert kinds[0] == "draining"


async def test_statistics_are_frozen_and_add_up(autojump_clock: trio.testing.MockClock) -> None:
    """And a repr is worth reading."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=2, name="thumbs") as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        for _ in range(3):
            nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        statistics = pool.statistics()
        assert (statistics.running, statistics.queued, statistics.ready) == (2, 1, 2)
        assert [slot.state for slot in statistics.slots] == [SlotState.BUSY, SlotState.BUSY]
        assert repr(pool) == "<WorkerPool 'thumbs' open: 2 of 2 slots ready, 2 calls running, 1 queued>"
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            statistics.queued = 7  # type: ignore[misc]
        with pytest.raises(ValueError, match="has 2 slots"):
            await pool.wait_ready(3)
    assert pool.statistics().succeeded == 3

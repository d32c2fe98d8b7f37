"""Elastic slots: as many workers as the load needs, between min_slots and slots, without flapping."""

from __future__ import annotations

import pytest
import trio

from trio_folk import PoolConfig, SpawnBudget, open_pool
from trio_folk.testing import FaultyRuntime, Script

ELASTIC = PoolConfig(slots=8, min_slots=2, idle_timeout=60, budget=SpawnBudget(1000, 30))


async def test_a_pool_begins_with_min_slots(autojump_clock: trio.testing.MockClock) -> None:
    """And stays there while they are enough."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=ELASTIC) as pool:
        for _ in range(100):
            await pool.execute("sleep", 0.1)
        assert len(runtime.births) == pool.statistics().ready == 2
        assert "2 of 8 slots ready (2 wanted)" in repr(pool)


async def test_it_grows_when_a_call_waits_for_some_milliseconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """By doubling, as far as there are calls that wait."""
    runtime = FaultyRuntime(then=Script(boot_delay=0.1))
    async with open_pool(runtime, config=ELASTIC) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        for _ in range(5):
            nursery.start_soon(pool.execute, "sleep", 10)
        await trio.sleep(0.004)
        assert len(pool._core.wanted()) == 2
        await trio.sleep(0.002)
        assert len(pool._core.wanted()) == 4
        await trio.sleep(0.11)
        assert len(pool._core.wanted()) == 5, "one call waited still"
        await trio.sleep(0.2)
        assert (pool.statistics().running, pool.statistics().queued) == (5, 0)


async def test_short_waits_do_not_make_it_grow(autojump_clock: trio.testing.MockClock) -> None:
    """Calls that queue for less than that are no reason to start a process."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=ELASTIC) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)

        async def caller() -> None:
            for _ in range(200):
                await pool.execute("sleep", 0.001)

        for _ in range(6):
            nursery.start_soon(caller)
    assert len(runtime.births) == 2


async def test_it_shrinks_when_nobody_needs_them(autojump_clock: trio.testing.MockClock) -> None:
    """After idle_timeout without a call, and never below min_slots."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=ELASTIC) as pool:
        await pool.wait_ready(8)
        await trio.sleep(59)
        assert pool.statistics().ready == 8
        await trio.sleep(60)
        assert (pool.statistics().ready, runtime.alive) == (2, 2)
        await pool.wait_ready(8)
        assert pool.statistics().ready == 8


async def test_a_worker_with_a_call_is_not_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """However long the call takes."""
    async with open_pool(FaultyRuntime(), config=ELASTIC) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(8)
        for _ in range(5):
            nursery.start_soon(pool.execute, "sleep", 1000)
        await trio.sleep(500)
        assert pool.statistics().ready == pool.statistics().running == 5


async def test_a_load_that_comes_and_goes_does_not_make_it_flap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A burst of six every half idle_timeout: six workers, each born once."""
    runtime = FaultyRuntime(then=Script(boot_delay=0.1))
    async with open_pool(runtime, config=ELASTIC) as pool:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(pool.execute, "sleep", 1)
            await trio.sleep(30)
    assert len(runtime.births) == 6


async def test_slots_that_cannot_boot_do_not_make_it_grow(autojump_clock: trio.testing.MockClock) -> None:
    """More of the same would fail too."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if birth.id.slot else Script())
    config = PoolConfig(slots=8, min_slots=2, budget=SpawnBudget(4, 1000))
    async with open_pool(runtime, config=config) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pool.execute, "sleep", 1)
        assert {birth.id.slot for birth in runtime.births} == {0, 1}


async def test_a_reload_leaves_unwanted_slots_alone(autojump_clock: trio.testing.MockClock) -> None:
    """They are born in the new code when they are wanted."""
    async with open_pool(FaultyRuntime(), config=ELASTIC) as pool:
        await pool.wait_ready(2)
        report = await pool.reload()
        assert [slot.slot for slot in report.slots] == [0, 1]
        await pool.wait_ready(8)
        assert {slot.incarnation.handle.generation for slot in pool._core.slots if slot.incarnation} == {1}


@pytest.mark.parametrize("slots", [0, 9, True, 2.5])
def test_min_slots_that_make_no_sense_are_refused(slots: int) -> None:
    """At once, by name."""
    with pytest.raises((ValueError, TypeError), match="min_slots"):
        PoolConfig(slots=8, min_slots=slots)


async def test_an_idle_pool_of_its_smallest_size_wakes_for_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing polls: with nothing to do, the clock jumps a day in one step."""
    steps = 0

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += 1

    async with open_pool(FaultyRuntime(), config=ELASTIC) as pool:
        await pool.wait_ready(2)
        await trio.sleep(10)
        trio.lowlevel.add_instrument(counter := Steps())
        await trio.sleep(86400)
        trio.lowlevel.remove_instrument(counter)
    assert steps < 10

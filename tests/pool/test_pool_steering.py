"""Steering by hand: so many slots, and another worker in this one, while no call is lost."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from trio_folk import BootFailed, FolkError, PoolClosed, PoolConfig, SpawnBudget, open_pool
from trio_folk.testing import FaultyRuntime, Script

BUDGET = SpawnBudget(1000, 30)
FIXED = PoolConfig(slots=4, budget=BUDGET)
ELASTIC = PoolConfig(slots=8, min_slots=2, idle_timeout=60, budget=BUDGET)


async def test_pool_is_scaled_down_and_up_again(autojump_clock: trio.testing.MockClock) -> None:
    """At once; the highest numbers go first where all are equal."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=FIXED) as pool:
        await pool.wait_ready(4)
        pool.scale(1)
        assert pool.statistics().wanted == 1
        await trio.sleep(1)
        assert [slot.number for slot in pool.statistics().slots if slot.worker] == [0]
        assert runtime.alive == 1
        pool.scale(3)
        await pool.wait_ready(3)
        assert runtime.alive == 3
        pool.scale(None)
        await pool.wait_ready(4)
        assert "wanted" not in repr(pool)


async def test_no_call_is_ended_by_scaling(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 1: workers that are too many finish what they run, and idle ones go before them."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.execute, "sleep", 10)
            await trio.sleep(1)
            [idle] = [slot.number for slot in pool.statistics().slots if not slot.running]
            pool.scale(3)
            await trio.sleep(1)
            assert pool.statistics().slots[idle].worker is None
            pool.scale(1)
            await trio.sleep(1)
            assert pool.statistics().running == 3
        await trio.lowlevel.checkpoint()
        assert pool.statistics().succeeded == 3
        assert pool.statistics().ready == 1


async def test_calls_that_wait_for_a_slot_by_their_key_move_when_it_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They would wait for ever for a slot that is to have no worker."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        await pool.wait_ready(4)
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for number in range(16):
                    for _ in range(3):
                        nursery.start_soon(partial(pool.execute, "sleep", 10, key=f"key {number}"))
                await trio.sleep(1)
                assert min(slot.queued for slot in pool.statistics().slots) > 0
                pool.scale(1)
        assert pool.statistics().succeeded == 48


async def test_slot_that_cannot_boot_goes_before_one_that_serves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever their numbers."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if birth.id.slot == 0 else Script())
    async with open_pool(runtime, slots=2, config=FIXED) as pool:
        await trio.sleep(1)
        pool.scale(1)
        await trio.sleep(1)
        assert pool.statistics().slots[1].worker is not None
        attempts = len(runtime.births)
        await trio.sleep(100)
        assert len(runtime.births) == attempts, "it is not tried again"


async def test_birth_that_is_not_wanted_any_more_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """A slot that is scaled away while its worker boots has none afterwards, and nothing was spent."""
    runtime = FaultyRuntime(then=Script(boot_delay=5))
    async with open_pool(runtime, config=FIXED) as pool:
        pool.scale(1)
        await pool.wait_ready(1)
        pool.scale(4)
        await trio.sleep(1)
        pool.scale(1)
        await trio.sleep(10)
        assert (pool.statistics().ready, runtime.alive) == (1, 1)
        assert pool.statistics().budget.failed == 0


async def test_scaled_pool_does_not_size_itself(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 3: neither up when calls wait nor down when nobody calls; until it is given back."""
    async with open_pool(FaultyRuntime(), config=ELASTIC) as pool:
        pool.scale(3)
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(pool.execute, "sleep", 10)
            await trio.sleep(5)
            assert pool.statistics().ready == 3
        await trio.sleep(1000)
        assert pool.statistics().ready == 3
        pool.scale(None)
        await trio.sleep(200)
        assert pool.statistics().ready == 2
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(pool.execute, "sleep", 10)
            await trio.sleep(5)
            assert pool.statistics().ready == 8


async def test_reload_of_a_scaled_pool_leaves_the_other_slots_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also where it is scaled while the canary boots: no slot that is not wanted gets a worker."""
    runtime = FaultyRuntime(then=Script(boot_delay=2))
    async with open_pool(runtime, config=FIXED) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.reload)
            await trio.sleep(3)
            pool.scale(1)
        await trio.sleep(10)
        assert (pool.statistics().ready, runtime.alive, pool.statistics().generation) == (1, 1, 1)


@pytest.mark.parametrize(
    ("slots", "error"),
    [(0, ValueError), (5, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError)],
)
async def test_scale_that_makes_no_sense_changes_nothing(
    autojump_clock: trio.testing.MockClock, slots: int, error: type[Exception]
) -> None:
    """Invariant 2, among others."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        with pytest.raises(error):
            pool.scale(slots)
        assert pool.statistics().wanted == 4


async def test_pool_that_drains_is_not_steered(autojump_clock: trio.testing.MockClock) -> None:
    """It is about to end."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        await pool.drain()
        assert pool.statistics().draining
        with pytest.raises(PoolClosed):
            pool.scale(1)
        with pytest.raises(PoolClosed):
            await pool.recycle(0)


async def test_recycled_worker_finishes_its_call(autojump_clock: trio.testing.MockClock) -> None:
    """Then the next one is there, and its id is returned; the other slots keep theirs."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.execute, "sleep", 10)
            await trio.sleep(1)
            [busy] = [slot for slot in pool.statistics().slots if slot.running]
            began = trio.current_time()
            new = await pool.recycle(busy.number)
            assert trio.current_time() - began == pytest.approx(9)
        assert (busy.worker, new) == (f"pool/{busy.number}.1", f"pool/{busy.number}.2")
        assert pool.statistics().succeeded == pool.statistics().recycled == 1
        assert pool.statistics().deaths == 0


async def test_all_slots_recycled_at_once_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    """At most one is without a worker at any time."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    fewest = 4
    async with open_pool(runtime, config=FIXED) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(pool.recycle, number)
            for _ in range(40):
                await trio.sleep(0.125)
                fewest = min(fewest, pool.statistics().ready)
        assert [slot.worker for slot in pool.statistics().slots] == [
            f"pool/{number}.2" for number in range(4)
        ]
    assert fewest == 3


async def test_recycling_says_why_the_new_worker_could_not_be_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And the slot goes on trying."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if birth.id.incarnation == 2 else Script())
    async with open_pool(runtime, slots=1, config=FIXED) as pool:
        with pytest.raises(BootFailed):
            await pool.recycle(0)
        await pool.wait_ready(1)
        assert pool.statistics().slots[0].worker == "pool/0.3"


async def test_slot_without_a_seat_or_a_number_is_not_recycled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is not wanted has no worker; what is not there has no number; and some runtimes forbid it."""
    async with open_pool(FaultyRuntime(), config=FIXED) as pool:
        await pool.wait_ready(4)
        pool.scale(2)
        with pytest.raises(FolkError, match="slot 3 of the pool 'pool' is to have no worker"):
            await pool.recycle(3)
        with pytest.raises(ValueError, match="the slots 0 to 3"):
            await pool.recycle(4)
    async with open_pool(FaultyRuntime(recyclable=False), config=FIXED) as pool:
        with pytest.raises(FolkError, match="may not be replaced"):
            await pool.recycle(0)

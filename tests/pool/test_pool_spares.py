"""Spares: whatever takes a slot's worker away, the slot has another at once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import PoolConfig, SpawnBudget, SpawnCoordinator, WorkerDied, WorkerPool, open_pool
from trio_folk._pool.seating import take_spare
from trio_folk.abc import Birth
from trio_folk.testing import FaultyRuntime, Script
from trio_folk.testing._script import Fault

SLOW = Script(boot_delay=10)


def workers(pool: WorkerPool) -> list[str | None]:
    return [slot.worker for slot in pool.statistics().slots]


async def test_a_spare_takes_over_at_once_after_a_cancel(autojump_clock: trio.testing.MockClock) -> None:
    """The next call is answered without waiting for a boot, and a new spare is made."""
    config = PoolConfig(slots=1, spares=1)
    async with open_pool(FaultyRuntime(then=SLOW), config=config) as pool:
        await trio.sleep(15)
        assert pool.statistics().spares == 1
        began = trio.current_time()
        with trio.move_on_after(1):
            await pool.execute("sleep", 60)
        assert await pool.execute("echo", "next") == "next"
        assert trio.current_time() - began == pytest.approx(1)
        assert workers(pool) == ["pool/1.1"]
        assert pool.statistics().spares == 0
        await trio.sleep(11)
        assert pool.statistics().spares == 1


@pytest.mark.parametrize("how", ["death", "max_jobs", "exec_timeout", "ttl"])
async def test_a_spare_takes_over_whatever_ended_the_worker(
    autojump_clock: trio.testing.MockClock, how: str
) -> None:
    """A death, a recycle or a timeout costs the slot nothing but a swap."""
    dies = Script(boot_delay=10, at_call={1: Fault.dies()})

    def script(birth: Birth) -> Script:
        return dies if how == "death" and birth.id.slot == 0 else SLOW

    config = PoolConfig(
        slots=1,
        spares=1,
        min_uptime=0,
        max_jobs=1 if how == "max_jobs" else float("inf"),
        exec_timeout=1 if how == "exec_timeout" else float("inf"),
        ttl=60 if how == "ttl" else float("inf"),
        recycle_jitter=0,
    )
    async with open_pool(FaultyRuntime(script), config=config) as pool:
        await trio.sleep(15)
        if how == "death":
            with pytest.raises(WorkerDied):
                await pool.execute("echo")
        elif how == "exec_timeout":
            with pytest.raises(trio.TooSlowError):
                await pool.execute("sleep", 60)
        elif how == "max_jobs":
            await pool.execute("echo")
        else:
            await trio.sleep(50)
        began = trio.current_time()
        assert await pool.execute("echo", "next") == "next"
        assert trio.current_time() == began


async def test_a_spare_is_given_to_a_slot_that_is_in_the_middle_of_a_boot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first that is ready takes the slot; the other birth is given up."""
    runtime = FaultyRuntime(lambda birth: Script(boot_delay=1 if birth.id.slot == 1 else 100))
    config = PoolConfig(slots=1, spares=1, boot_timeout=1000)
    async with open_pool(runtime, config=config) as pool:
        await trio.sleep(0.5)
        with trio.move_on_after(0.1):
            await pool.execute("sleep", 60)
        assert await pool.execute("echo", "next", queue_timeout=1) == "next"
        await trio.sleep(5)
        assert (workers(pool), pool.statistics().spares) == (["pool/1.1"], 1)
        assert runtime.alive == 2


async def test_a_spare_that_dies_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    """It has a supervisor like every worker."""
    runtime = FaultyRuntime()
    config = PoolConfig(slots=1, spares=2, min_uptime=0)
    async with open_pool(runtime, config=config) as pool:
        await trio.sleep(1)
        for spare in pool._core.spares:
            assert spare.incarnation is not None
            spare.incarnation.handle.terminate("killed by the test")
        await trio.sleep(1)
        assert (pool.statistics().spares, pool.statistics().ready, runtime.alive) == (2, 1, 3)


async def test_spares_wait_until_every_slot_has_its_worker(autojump_clock: trio.testing.MockClock) -> None:
    """They do not compete with the slots for the processor when the pool is opened."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, config=PoolConfig(slots=3, spares=2)) as pool:
        await pool.wait_ready(3)
        assert {birth.id.slot for birth in runtime.births} == {0, 1, 2}
        await trio.sleep(2)
        assert pool.statistics().spares == 2


async def test_a_reload_replaces_the_spares_too(autojump_clock: trio.testing.MockClock) -> None:
    """No slot is ever given a worker of older code."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, config=PoolConfig(slots=2, spares=2)) as pool:
        await trio.sleep(5)
        await pool.reload()
        with trio.move_on_after(0.1):
            await pool.execute("sleep", 60)
        await trio.sleep(5)
        everyone = [*pool._core.slots, *pool._core.spares]
        assert [each.incarnation.handle.generation for each in everyone if each.incarnation] == [1] * 4
        assert runtime.alive == 4


async def test_spares_that_cannot_boot_do_not_end_the_pool(autojump_clock: trio.testing.MockClock) -> None:
    """They spend the budget, wait for it, and the slots serve on."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if birth.id.slot else Script())
    config = PoolConfig(slots=1, spares=1, budget=SpawnBudget(3, 10))
    async with open_pool(runtime, config=config) as pool:
        await trio.sleep(100)
        assert await pool.execute("echo", "serves") == "serves"
        assert pool.statistics().spares == 0
        assert len(runtime.births) <= 1 + 11 * 3


async def test_a_spare_due_for_recycling_passes_its_turn_on(autojump_clock: trio.testing.MockClock) -> None:
    """Slots and spares of one age are replaced one after another, and all of them."""
    config = PoolConfig(slots=2, spares=2, ttl=100, recycle_jitter=0)
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, config=config) as pool:
        await pool.wait_ready(2)
        for _ in range(50):
            await trio.sleep(10)
            assert pool.statistics().ready >= 1
        await wait_all_tasks_blocked()
        ages = [each.incarnation.age(trio.current_time()) for each in pool._core.spares if each.incarnation]
        assert max(ages) < 120
        assert runtime.alive <= 5


async def test_no_spare_of_older_code_is_seated_at_any_moment(autojump_clock: trio.testing.MockClock) -> None:
    """Not even in the instant in which newer code becomes current, before the spare is replaced."""
    async with open_pool(FaultyRuntime(), config=PoolConfig(slots=1, spares=1)) as pool:
        await trio.sleep(1)
        core = pool._core
        (slot,) = core.slots
        worker = slot.incarnation
        assert worker is not None
        core.generations.announce(core.generations.draw())
        worker.handle.terminate("killed by the test")
        assert not take_spare(core, slot)
        await trio.sleep(1)
        assert slot.incarnation is not None
        assert slot.incarnation.handle.generation == 1


async def test_a_spare_that_was_recycled_gives_the_turn_back(autojump_clock: trio.testing.MockClock) -> None:
    """The next worker that is due is replaced, and is not waited for for ever."""
    config = PoolConfig(slots=1, spares=1)
    async with open_pool(FaultyRuntime(), config=config) as pool:
        await trio.sleep(1)
        core = pool._core
        for seat in (core.spares[0], core.slots[0]):
            assert seat.incarnation is not None
            core.recycling.ask(seat.incarnation, "the test says so")
            await trio.sleep(1)
        assert pool.statistics().recycled == 2
        assert core.recycling.slot is None


async def test_a_spare_that_took_a_slot_is_no_worker_that_was_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its old seat has no claim on it: it serves on, whatever reload_drain_timeout says."""
    config = PoolConfig(slots=1, spares=1, reload_drain_timeout=1)
    async with open_pool(FaultyRuntime(), config=config) as pool:
        await trio.sleep(1)
        (slot,) = pool._core.slots
        assert slot.incarnation is not None
        slot.incarnation.handle.terminate("killed by the test")
        await trio.sleep(10)
        assert workers(pool) == ["pool/1.1"]


async def test_a_young_death_is_on_the_account_before_the_next_birth(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Or its slot's next attempt would not wait for its backoff."""
    failed: list[int] = []

    class Noting(FaultyRuntime):
        async def spawn(self, birth: Birth, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            failed.append(coordinator.statistics().budgets[0].failed)
            await super().spawn(birth, task_status=task_status)

    coordinator = SpawnCoordinator(seed=1)
    runtime = Noting(
        lambda birth: Script(after_ready={0.1: Fault.dies()} if birth.id.incarnation == 1 else {})
    )
    async with open_pool(runtime, slots=1, coordinator=coordinator):
        await trio.sleep(60)
    assert failed == [0, 1]

"""Crash loops: bounded, named, visible; and a pool that recovers when the program does."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    BootFailed,
    CrashLoop,
    PoolConfig,
    SpawnBudget,
    SpawnCoordinator,
    SpawnError,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk._pool import SlotState
from trio_folk.abc import Birth
from trio_folk.testing import FaultyRuntime, Script
from trio_folk.testing._script import Fault

N = 6


class Program:
    """What runs in the workers: it can be broken and mended, and its running workers be killed."""

    def __init__(self, broken: Script) -> None:
        self.broken = broken
        self.works = True
        self.runtime = FaultyRuntime(self.script)

    def script(self, birth: Birth) -> Script:
        return Script(at_call={1: Fault.dies()}) if self.works else self.broken


def config(on_crash_loop: str = "raise", **changes: object) -> PoolConfig:
    settings = {"slots": 4, "budget": SpawnBudget(N, 30), "on_crash_loop": on_crash_loop, **changes}
    return PoolConfig(**settings)  # type: ignore[arg-type]


async def kill_all(pool: WorkerPool) -> None:
    """Each worker dies at its first call."""
    async with trio.open_nursery() as nursery:
        for _ in range(len(pool.statistics().slots)):
            nursery.start_soon(expect_death, pool)


async def expect_death(pool: WorkerPool) -> None:
    with pytest.raises(WorkerDied):
        await pool.execute("anything")


BROKEN = [
    pytest.param(Script(boot="dies"), id="dies at boot"),
    pytest.param(Script(boot="refuses"), id="refuses"),
    pytest.param(Script(after_ready={0.0: Fault.dies()}), id="ready, then dies"),
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_program_that_breaks_ends_the_pool_after_n_attempts(
    autojump_clock: trio.testing.MockClock, broken: Script
) -> None:
    """One CrashLoop, bare, with the last failures; not one attempt more than the budget has."""
    program = Program(broken)
    with pytest.raises(CrashLoop, match=r"budget of 6 in 30 s is used up") as caught:
        async with open_pool(program.runtime, config=config()) as pool:
            await pool.wait_ready(4)
            await trio.sleep(5)  # older than min_uptime
            program.works = False
            await kill_all(pool)
            await trio.sleep_forever()
    assert program.runtime.spawned == 4 + N
    error = caught.value
    assert len(error.failures) == N
    assert all(isinstance(each, SpawnError | WorkerDied) for each in error.failures)
    assert error.worker is not None
    assert error.stage is not None
    assert 0 < error.retry_after <= 30
    assert trio.current_time() < 30


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_degraded_pool_spends_n_attempts_a_window_and_recovers(
    autojump_clock: trio.testing.MockClock, broken: Script
) -> None:
    """Callers learn it at once; when the program is mended the pool serves again, without a restart."""
    program = Program(broken)
    async with open_pool(program.runtime, config=config("degrade")) as pool:
        await pool.wait_ready(4)
        await trio.sleep(5)
        program.works = False
        await kill_all(pool)
        await trio.sleep(20)
        assert program.runtime.spawned == 4 + N
        began = trio.current_time()
        with pytest.raises(CrashLoop) as caught:
            await pool.execute("anything")
        assert trio.current_time() == began
        assert caught.value.failures
        assert pool.statistics().slots[0].state is SlotState.FAILED
        assert "attempts spent" in repr(pool)
        for window in range(2, 5):
            await trio.sleep(30)
            assert 4 + N * (window - 1) <= program.runtime.spawned <= 4 + N * window
        program.works = True
        program.runtime._script_for = lambda birth: Script()
        await trio.sleep(31)
        assert await pool.execute("echo", "again") == "again"
        await pool.wait_ready(4)
        assert all(slot.state is SlotState.IDLE for slot in pool.statistics().slots)
        await trio.sleep(5)
        assert pool.statistics().budget.on_probation == 0


@pytest.mark.parametrize("mode", ["raise", "degrade"])
async def test_boots_that_fail_too_slowly_to_fill_the_window_are_a_crash_loop_too(
    autojump_clock: trio.testing.MockClock, mode: str
) -> None:
    """Each takes its whole boot_timeout, which is as long as the window: nobody waits for ever."""
    program = Program(Script(boot="never"))
    settings = config(mode, budget=None, boot_timeout=30)
    caught: list[CrashLoop] = []
    with trio.fail_after(1000):
        try:
            async with open_pool(program.runtime, config=settings) as pool:
                await pool.wait_ready(4)
                await trio.sleep(5)
                program.works = False
                await kill_all(pool)
                with pytest.raises(CrashLoop) as waited:
                    await pool.execute("echo")
                assert waited.value.failures
                caught.append(waited.value)
                await trio.lowlevel.checkpoint()
        except CrashLoop as error:
            caught.append(error)
    assert len(caught) == (2 if mode == "raise" else 1)
    assert program.runtime.spawned <= 4 + 12 + 4


async def test_callers_that_wait_are_told_too(autojump_clock: trio.testing.MockClock) -> None:
    """Each gets the error as an object of its own, whichever way the pool goes."""
    for mode in ("raise", "degrade"):
        program = Program(Script(boot="dies", boot_delay=1))
        errors: list[BaseException] = []

        async def call(pool: WorkerPool, errors: list[BaseException] = errors) -> None:
            try:
                await pool.execute("echo")
            except CrashLoop as error:
                errors.append(error)

        with trio.move_on_after(20):
            try:
                async with (
                    open_pool(program.runtime, config=config(mode)) as pool,
                    trio.open_nursery() as nursery,
                ):
                    await pool.wait_ready(4)
                    await trio.sleep(5)
                    program.works = False
                    await kill_all(pool)
                    for _ in range(3):
                        nursery.start_soon(call, pool)
                    await trio.sleep_forever()
            except CrashLoop:
                assert mode == "raise"
        assert len(errors) == 3
        assert len({id(each) for each in errors}) == 3


async def test_cancels_timeouts_and_recycling_spend_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """However many, and however young the workers were."""
    runtime = FaultyRuntime()
    settings = PoolConfig(slots=2, budget=SpawnBudget(3, 1000), max_jobs=2, recycle_jitter=0)
    async with open_pool(runtime, config=settings) as pool:
        for _ in range(20):
            with trio.move_on_after(0.01):
                await pool.execute("sleep", 60)
            with pytest.raises(trio.TooSlowError):
                await pool.execute("sleep", 60, exec_timeout=0.01)
            await pool.execute("echo")
        assert pool.statistics().budget.failed == 0
        await trio.sleep(5)
        assert pool.statistics().budget.used == 0
    assert runtime.spawned > 40


async def test_deaths_at_an_age_spend_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Nor any at all with min_uptime=0."""
    runtime = FaultyRuntime(then=Script(at_call={1: Fault.dies()}))
    settings = PoolConfig(slots=1, budget=SpawnBudget(1, math.inf), min_uptime=0)
    async with open_pool(runtime, config=settings) as pool:
        for _ in range(50):
            await expect_death(pool)
        await pool.wait_ready()  # an attempt in flight counts
        assert pool.statistics().budget.used == 0


async def test_one_broken_slot_of_four_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    """It becomes FAILED with its reason and a time to come back; the others serve, and nobody raises."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if birth.id.slot == 2 else Script())
    async with open_pool(runtime, config=config()) as pool:
        await trio.sleep(20)
        slot = pool.statistics().slots[2]
        assert slot.state is SlotState.FAILED
        assert slot.failure is not None
        assert slot.retry_after is not None
        assert 0 < slot.retry_after <= 30
        assert await pool.execute("echo", 1) == 1
        runtime._script_for = lambda birth: Script()
        await trio.sleep(31)
        assert pool.statistics().ready == 4


async def test_a_budget_smaller_than_the_slots_opens_a_healthy_pool(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The attempts of those that became ready are given back one after another."""
    settings = PoolConfig(slots=5, budget=SpawnBudget(2, 1000))
    async with open_pool(FaultyRuntime(), config=settings) as pool:
        await pool.wait_ready(5)
        await trio.sleep(2)
        assert pool.statistics().budget.used == 0


@pytest.mark.parametrize("mode", ["raise", "degrade"])
async def test_a_pool_that_never_opened_raises_its_first_failure(
    autojump_clock: trio.testing.MockClock, mode: str
) -> None:
    """Not a CrashLoop: nothing had worked before. Also where the budget has fewer attempts than slots."""
    for attempts in (1, 3, 12):
        runtime = FaultyRuntime(then=Script(boot="dies"))
        with pytest.raises(BootFailed):
            async with open_pool(runtime, config=config(mode, budget=SpawnBudget(attempts, 30))):
                pytest.fail("opened")
        assert runtime.spawned <= max(attempts, 4)


async def test_pools_that_share_a_coordinator_have_budgets_of_their_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One is in a crash loop, the other serves; launches at once are bounded over both."""
    coordinator = SpawnCoordinator(limiter=trio.CapacityLimiter(1))
    bad = Program(Script(boot="dies"))
    good = FaultyRuntime(then=Script(boot_delay=0.01))
    async with (
        open_pool(good, slots=3, coordinator=coordinator, name="same") as serving,
        open_pool(bad.runtime, config=config("degrade"), coordinator=coordinator, name="same") as failing,
    ):
        await failing.wait_ready(4)
        await trio.sleep(5)
        bad.works = False
        await kill_all(failing)
        await trio.sleep(10)
        assert coordinator.limiter.statistics().borrowed_tokens == 0
        with pytest.raises(CrashLoop):
            await failing.execute("echo")
        assert await serving.execute("echo", 1) == 1
        assert serving.statistics().budget.used == 0
        assert failing.statistics().budget.failed == N


async def test_closing_a_pool_in_a_crash_loop_leaves_nothing_in_flight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever it waits for: backoff, the limiter, a boot, the window."""
    for moment in (0.0, 0.01, 0.3, 1.0, 3.0, 40.0):
        coordinator = SpawnCoordinator(seed=1)
        program = Program(Script(boot="dies", boot_delay=0.2))
        async with open_pool(program.runtime, config=config("degrade"), coordinator=coordinator) as pool:
            await pool.wait_ready(4)
            program.works = False
            await kill_all(pool)
            await trio.sleep(moment)
        assert coordinator.statistics().in_flight == 0
        assert coordinator.limiter.statistics().borrowed_tokens == 0
        await wait_all_tasks_blocked()

"""Reload: no failed call, no missing slot, and no way for a bad deploy to take the pool down."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    Lease,
    PoolClosed,
    PoolConfig,
    ReloadFailed,
    ReloadReport,
    SpawnBudget,
    TaskRuntime,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Birth, Traits
from trio_folk.testing import FaultyRuntime, Script
from trio_folk.testing._script import Fault


def generation_of(pool: WorkerPool, slot: int) -> int:
    incarnation = pool._core.slots[slot].incarnation
    return -1 if incarnation is None else incarnation.handle.generation


def generations(pool: WorkerPool) -> list[int]:
    return [generation_of(pool, slot.number) for slot in pool.statistics().slots]


def new_code(script: Script) -> Callable[[Birth], Script]:
    """Workers of generation 0 are kind; later ones follow the script."""
    return lambda birth: Script() if birth.generation == 0 else script


class Keeping(FaultyRuntime):
    """A runtime that can still make workers of older generations; it remembers what it was told to forget."""

    def __init__(self, scripts: Callable[[Birth], Script]) -> None:
        super().__init__(scripts)
        self.traits = Traits(processes=False, python=True, keeps_generations=True)
        self.forgot: list[int] = []

    def forget(self, generation: int) -> None:
        self.forgot.append(generation)


async def test_every_slot_gets_a_new_worker_and_no_call_fails(autojump_clock: trio.testing.MockClock) -> None:
    """64 callers without pause through 20 reloads; never fewer than four slots able to serve."""
    fewest = 4
    calls = 0
    async with open_pool(FaultyRuntime(then=Script(boot_delay=0.05)), slots=4) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:

            async def caller(number: int) -> None:
                nonlocal calls
                for index in itertools.count():
                    assert await pool.execute("sleep", [0.005, number, index]) is not None
                    calls += 1

            async def watch() -> None:
                nonlocal fewest
                while True:
                    fewest = min(fewest, pool.statistics().ready)
                    await trio.sleep(0.001)

            nursery.start_soon(watch)
            for number in range(64):
                nursery.start_soon(caller, number)
            for number in range(1, 21):
                report = await pool.reload()
                assert report.generation == number
                assert [slot.generation for slot in report.slots] == [number] * 4
                assert generations(pool) == [number] * 4
            nursery.cancel_scope.cancel()
        assert pool.statistics().died == pool.statistics().failed == 0
    assert calls > 1000
    assert fewest == 4


async def test_a_running_call_ends_on_the_old_worker(autojump_clock: trio.testing.MockClock) -> None:
    """However long it takes; the report counts it, and new calls go to the new worker meanwhile."""
    async with open_pool(FaultyRuntime(), slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 100)
        await wait_all_tasks_blocked()
        reports: list[ReloadReport] = []

        async def reload() -> None:
            reports.append(await pool.reload())

        nursery.start_soon(reload)
        await trio.sleep(1)
        assert await pool.execute("echo", "new", queue_timeout=0) == "new"
        assert generations(pool) == [1]
        await trio.sleep(100)
        (slot,) = reports[0].slots
        assert (slot.old, slot.new, slot.drained) == ("pool/0.1", "pool/0.2", 1)
        assert slot.seconds == pytest.approx(100)


async def test_a_drain_may_be_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """reload_drain_timeout: then the old worker is ended, and its call says why."""
    config = PoolConfig(slots=1, reload_drain_timeout=10)
    async with open_pool(FaultyRuntime(), config=config) as pool, trio.open_nursery() as nursery:
        errors: list[WorkerDied] = []

        async def call() -> None:
            with pytest.raises(WorkerDied, match="reload_drain_timeout") as caught:
                await pool.execute("sleep", 100)
            errors.append(caught.value)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        report = await pool.reload()
        assert report.seconds == pytest.approx(10)
    assert errors[0].worker == "pool/0.1"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(boot="dies"), id="dies at boot"),
        pytest.param(Script(boot="refuses"), id="import error"),
        pytest.param(Script(boot="never"), id="endless loop at import"),
        pytest.param(Script(boot="launch_fails"), id="program gone"),
    ],
)
async def test_a_canary_that_does_not_come_up_changes_nothing(
    autojump_clock: trio.testing.MockClock, script: Script
) -> None:
    """ReloadFailed; the old code serves, crashed slots are reborn in it, and the next good reload succeeds."""
    broken = True
    runtime = FaultyRuntime(lambda birth: script if birth.generation and broken else Script())
    async with open_pool(runtime, config=PoolConfig(slots=3, boot_timeout=5)) as pool:
        await pool.wait_ready(3)
        with pytest.raises(ReloadFailed, match="every slot has its old worker") as caught:
            await pool.reload()
        assert caught.value.__cause__ is not None
        assert caught.value.report is None
        assert caught.value.worker == "pool/0.2"
        assert generations(pool) == [0, 0, 0]
        assert pool.statistics().budget.failed == 0, "a canary spends nothing"
        with trio.move_on_after(0.1):
            await pool.execute("sleep", 60)
        await pool.wait_ready(3)
        assert generations(pool) == [0, 0, 0]
        broken = False
        report = await pool.reload()
        assert generations(pool) == [report.generation] * 3


async def test_a_failing_check_and_a_death_in_it_stop_the_reload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The check has the new worker alone, before anybody else."""
    runtime = FaultyRuntime(new_code(Script(at_call={2: Fault.dies()})))
    seen: list[str] = []

    async def check(worker: Lease) -> None:
        seen.append(worker.worker)
        assert await worker.execute("echo", "hello") == "hello"
        raise ValueError("wrong version")

    async def check_that_kills(worker: Lease) -> None:
        await worker.execute("echo")
        await worker.execute("echo")

    async with open_pool(runtime, slots=2) as pool:
        await pool.wait_ready(2)
        with pytest.raises(ReloadFailed, match="wrong version") as caught:
            await pool.reload(check)
        assert caught.value.stage == "check"
        assert isinstance(caught.value.__cause__.__cause__, ValueError)  # type: ignore[union-attr]
        with pytest.raises(ReloadFailed, match="WorkerDied"):
            await pool.reload(check_that_kills)
        assert generations(pool) == [0, 0]
        assert await pool.execute("echo", 1) == 1
    assert seen == ["pool/0.2"]


async def test_a_failure_after_the_canary_rolls_back_where_the_runtime_can(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Tried again within the budget first; then every slot is back in the old code."""

    def script(birth: Birth) -> Script:
        return Script(boot="dies") if birth.generation and birth.id.slot == 2 else Script()

    runtime = Keeping(script)
    config = PoolConfig(slots=3, budget=SpawnBudget(4, 1000))
    async with open_pool(runtime, config=config) as pool:
        await pool.wait_ready(3)
        await trio.sleep(5)
        with pytest.raises(ReloadFailed, match="back in the old code") as caught:
            await pool.reload()
        assert isinstance(caught.value.report, ReloadReport)
        assert caught.value.report.generation == 0
        assert generations(pool) == [0, 0, 0]
        assert runtime.forgot == []
        assert sum(birth.id.slot == 2 and birth.generation == 1 for birth in runtime.births) >= 2


async def test_a_failure_after_the_canary_stops_where_it_is_otherwise(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And the report says which slots have which; each still serves."""

    def script(birth: Birth) -> Script:
        return Script(boot="dies") if birth.generation and birth.id.slot == 1 else Script()

    config = PoolConfig(slots=3, budget=SpawnBudget(4, 1000))
    async with open_pool(FaultyRuntime(script), config=config) as pool:
        await pool.wait_ready(3)
        await trio.sleep(5)
        with pytest.raises(ReloadFailed, match="1 of 3 slots have the new code") as caught:
            await pool.reload()
        assert isinstance(caught.value.report, ReloadReport)
        assert [(slot.slot, slot.generation) for slot in caught.value.report.slots] == [(0, 1)]
        assert generations(pool) == [1, 0, 0]
        assert pool.statistics().ready == 3


async def test_overlapping_reloads_share_one(autojump_clock: trio.testing.MockClock) -> None:
    """The first runs; all who asked meanwhile get one that began after they asked, with all their checks."""
    checked: list[int] = []
    async with open_pool(FaultyRuntime(then=Script(boot_delay=1)), slots=2) as pool:
        await pool.wait_ready(2)
        reports: list[ReloadReport] = []

        def check(number: int) -> Callable[[Lease], object]:
            async def run(worker: Lease) -> None:
                checked.append(number)

            return run

        async def reload(number: int) -> None:
            reports.append(await pool.reload(check(number)))  # type: ignore[arg-type]

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(reload, number)
                await wait_all_tasks_blocked()
        assert sorted(report.generation for report in reports) == [1, 2, 2, 2, 2]
    assert checked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5, 2.5, 3.5])
async def test_a_cancelled_reload_leaves_every_slot_with_one_worker(
    autojump_clock: trio.testing.MockClock, moment: float
) -> None:
    """Whenever it is cancelled; and the next reload runs."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, slots=3) as pool:
        await pool.wait_ready(3)
        with trio.move_on_after(moment):
            await pool.reload()
        await trio.sleep(10)
        assert pool.statistics().ready == 3
        assert runtime.alive == 3
        assert pool._core.coordinator.statistics().in_flight == 0
        await pool.reload()
        await trio.sleep(1)
        assert runtime.alive == 3
        assert len(set(generations(pool))) == 1


async def test_non_recyclable_workers_are_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    """And named in the report."""
    async with open_pool(TaskRuntime(recyclable=False), slots=2) as pool:
        report = await pool.reload()
        assert report.left == (0, 1)
        assert report.slots == ()


async def test_a_slot_that_waits_for_its_budget_takes_the_new_code_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A reload is how a crash loop is mended: it does not wait for the window."""
    mended = False

    def script(birth: Birth) -> Script:
        if birth.id.slot == 1 and not mended:
            return Script(boot="dies")
        return Script()

    config = PoolConfig(slots=2, budget=SpawnBudget(3, 60))
    async with open_pool(FaultyRuntime(script), config=config) as pool:
        await trio.sleep(20)
        mended = True
        await trio.sleep(35)
        report = await pool.reload()
        assert report.generation == 1
        await trio.sleep(60)
        assert generations(pool) == [1, 1]


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.permutations(["reload", "death", "recycle", "cancel", "drain"], 2)]
)
@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0])
async def test_every_pair_of_events_converges(
    autojump_clock: trio.testing.MockClock, first: str, second: str, gap: float
) -> None:
    """Started one after the other, or in the middle of it: one worker a slot, nothing in flight, calls answered."""
    runtime = FaultyRuntime(lambda birth: Script(boot_delay=1))
    config = PoolConfig(slots=2, max_jobs=3, recycle_jitter=0, min_uptime=0)
    async with open_pool(runtime, config=config) as pool:
        await pool.wait_ready(2)

        async def reload() -> None:
            try:
                await pool.reload()
            except PoolClosed:
                assert "drain" in (first, second)

        async def death() -> None:
            for slot in pool._core.slots:
                if slot.incarnation is not None:
                    slot.incarnation.handle.terminate("killed by the test")

        async def recycle() -> None:
            with trio.move_on_after(30):
                for number in range(6):
                    try:
                        await pool.execute("echo", number)
                    except (PoolClosed, WorkerDied):
                        return

        async def cancel() -> None:
            with trio.move_on_after(0.25):
                try:
                    await pool.execute("sleep", 60)
                except (PoolClosed, WorkerDied):
                    return

        async def drain() -> None:
            await pool.drain()

        events = {"reload": reload, "death": death, "recycle": recycle, "cancel": cancel, "drain": drain}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(events[first])
            await trio.sleep(gap)
            nursery.start_soon(events[second])
        await trio.sleep(20)
        assert pool.statistics().ready == 2
        assert runtime.alive == 2
        assert pool._core.coordinator.statistics().in_flight == 0
        if "drain" not in (first, second):
            assert await pool.execute("echo", "after") == "after"

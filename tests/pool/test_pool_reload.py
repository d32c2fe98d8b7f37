"""Reload: no failed call, no missing slot, and no way for a bad deploy to take the pool down."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    CrashLoop,
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
    run_pool,
)
from trio_folk.abc import Birth, Rung, Traits
from trio_folk.testing import FaultyRuntime, Script
from trio_folk.testing._script import Fault

EVENTS = ["reload", "death", "recycle", "cancel", "drain", "close"]


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
        with pytest.raises(ReloadFailed, match="the worker ended while the call was running"):
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
        assert runtime.forgot == [0], "the new code's"
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


async def test_a_hanging_boot_of_old_code_is_given_up_for_the_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A reload that mends code which hangs at import does not wait for boot_timeout, slot by slot."""
    hang = False

    def script(birth: Birth) -> Script:
        return Script(boot="never") if hang and birth.generation == 0 else Script()

    config = PoolConfig(slots=3, boot_timeout=1000, min_uptime=0)
    async with open_pool(FaultyRuntime(script), config=config) as pool:
        await pool.wait_ready(3)
        hang = True
        for slot in pool._core.slots:
            assert slot.incarnation is not None
            slot.incarnation.handle.terminate("killed by the test")
        await trio.sleep(1)
        began = trio.current_time()
        await pool.reload()
        await pool.wait_ready(3)
        assert trio.current_time() == began
        assert generations(pool) == [1, 1, 1]
        assert pool._core.coordinator.statistics().in_flight == 0


async def test_what_dies_while_the_first_old_worker_drains_is_born_in_new_code(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The canary itself, or another slot: the new code has proved itself, and the drain may last."""
    async with (
        open_pool(FaultyRuntime(), config=PoolConfig(slots=2, min_uptime=0)) as pool,
        trio.open_nursery() as nursery,
    ):
        await pool.wait_ready(2)
        for _ in range(2):
            nursery.start_soon(pool.execute, "sleep", 100)
        await wait_all_tasks_blocked()
        nursery.start_soon(pool.reload)
        await trio.sleep(10)
        assert generations(pool) == [1, 0]
        canary = pool._core.slots[0].incarnation
        assert canary is not None
        canary.handle.terminate("killed by the test", Rung.TERMINATE)
        await trio.sleep(10)
        assert generations(pool) == [1, 0]
        await trio.sleep(300)
        assert generations(pool) == [1, 1]


async def test_a_canary_that_takes_an_empty_slot_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """As ready, like every worker."""
    broken = True
    runtime = FaultyRuntime(
        lambda birth: Script(boot="dies") if broken and birth.id.incarnation > 1 else Script()
    )
    config = PoolConfig(slots=1, budget=SpawnBudget(3, 1000), on_crash_loop="degrade", min_uptime=0)
    async with open_pool(runtime, config=config) as pool:
        worker = pool._core.slots[0].incarnation
        assert worker is not None
        worker.handle.terminate("killed by the test")
        await trio.sleep(60)
        broken = False
        with pool.events() as events:
            report = await pool.reload()
            told = [(event.kind, event.worker) for event in events.nowait()]
        assert ("ready", report.slots[0].new) in told


async def test_a_crash_loop_is_mended_by_its_canary(autojump_clock: trio.testing.MockClock) -> None:
    """With every slot waiting for the budget, the canary takes a slot at once."""
    broken = True
    runtime = FaultyRuntime(lambda birth: Script(boot="dies") if broken and born(birth) else Script())

    def born(birth: Birth) -> bool:
        return birth.id.incarnation > 1

    config = PoolConfig(slots=2, budget=SpawnBudget(4, 1000), on_crash_loop="degrade", min_uptime=0)
    async with open_pool(runtime, config=config) as pool:
        await pool.wait_ready(2)
        for slot in pool._core.slots:
            assert slot.incarnation is not None
            slot.incarnation.handle.terminate("killed by the test")
        await trio.sleep(60)
        with pytest.raises(CrashLoop):
            await pool.execute("echo", 1)
        broken = False
        began = trio.current_time()
        await pool.reload()
        assert await pool.execute("echo", 2) == 2
        assert trio.current_time() == began


@pytest.mark.parametrize(
    ("surge", "unavailable", "seconds", "fewest"), [(1, 0, 6, 6), (3, 0, 3, 6), (0, 2, 4, 4)]
)
async def test_surge_and_unavailability_bound_a_reload(
    autojump_clock: trio.testing.MockClock, surge: int, unavailable: int, seconds: int, fewest: int
) -> None:
    """The canary first; then so many at a time beside, or instead of, the old workers."""
    config = PoolConfig(
        slots=6, max_surge=surge, max_unavailable=unavailable, budget=SpawnBudget(100, 30), min_uptime=0
    )
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(6)
        seen: list[tuple[int, int]] = []

        async def watch() -> None:
            while True:
                await trio.sleep(0.1)
                seen.append((pool.statistics().ready, runtime.alive))

        nursery.start_soon(watch)
        report = await pool.reload()
        nursery.cancel_scope.cancel()
    assert report.seconds == pytest.approx(seconds, abs=0.1)
    assert min(ready for ready, _ in seen) == fewest
    assert max(alive for _, alive in seen) == 6 + max(surge, 1)
    assert {slot.generation for slot in report.slots} == {1}
    assert len(report.slots) == 6


def test_a_reload_that_could_replace_nothing_is_refused() -> None:
    """When the pool is configured, not when it is needed."""
    with pytest.raises(ValueError, match="max_surge and max_unavailable"):
        PoolConfig(max_surge=0)


async def test_a_worker_that_has_had_its_last_call_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is about to be replaced by itself; no worker is born only to be discarded."""
    runtime = FaultyRuntime()
    config = PoolConfig(slots=2, max_jobs=1, reload_drain_timeout=50)
    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)

        async def call_that_is_ended() -> None:
            with pytest.raises(WorkerDied, match="reload_drain_timeout"):
                await pool.execute("sleep", 100)

        nursery.start_soon(pool.execute, "sleep", 30)
        nursery.start_soon(call_that_is_ended)
        await wait_all_tasks_blocked()
        report = await pool.reload()
        assert 50 <= report.seconds <= 80.1, "one slot after another"
        assert generations(pool) == [1, 1]
        assert len(runtime.births) <= 5


async def test_a_failure_among_several_at_once_rolls_back_all(autojump_clock: trio.testing.MockClock) -> None:
    """Those in the middle of their turn finish it, and go back with the others."""

    def script(birth: Birth) -> Script:
        bad = birth.generation and birth.id.slot == 3
        return Script(boot="dies" if bad else "ready", boot_delay=1)

    config = PoolConfig(slots=6, max_surge=3, budget=SpawnBudget(10, 1000))
    async with open_pool(Keeping(script), config=config) as pool:
        await pool.wait_ready(6)
        await trio.sleep(5)
        with pytest.raises(ReloadFailed, match="back in the old code"):
            await pool.reload()
        assert generations(pool) == [0] * 6
        assert pool.statistics().ready == 6


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(EVENTS, 2)])
@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("spares", [0, 1])
async def test_every_pair_of_events_converges(
    autojump_clock: trio.testing.MockClock, first: str, second: str, gap: float, spares: int
) -> None:
    """Started one after the other, or in the middle of it: one worker a slot, nothing in flight, calls answered."""
    runtime = FaultyRuntime(lambda birth: Script(boot_delay=1))
    config = PoolConfig(slots=2, spares=spares, max_jobs=3, recycle_jitter=0, min_uptime=0, drain_timeout=5)
    ended = {"drain", "close"} & {first, second}
    async with trio.open_nursery() as services:
        pool: WorkerPool = await services.start(partial(run_pool, runtime, config=config))
        await pool.wait_ready(2)

        async def reload() -> None:
            try:
                await pool.reload()
            except (PoolClosed, ReloadFailed):
                assert ended

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

        async def close() -> None:
            services.cancel_scope.cancel()

        events = {
            "reload": reload,
            "death": death,
            "recycle": recycle,
            "cancel": cancel,
            "drain": drain,
            "close": close,
        }
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(events[first])
                await trio.sleep(gap)
                nursery.start_soon(events[second])
            await trio.sleep(20)
        if "close" not in ended:
            assert (pool.statistics().ready, pool.statistics().spares) == (2, spares)
            assert runtime.alive == 2 + spares
        if not ended:
            assert await pool.execute("echo", "after") == "after"
        services.cancel_scope.cancel()
    assert runtime.alive == 0
    assert pool._core.coordinator.statistics().in_flight == 0

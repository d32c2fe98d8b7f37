"""The mixed runtime: each part keeps the contract through it, and a call is what the part makes of it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from trio_folk import (
    ApplicationError,
    ForkRuntime,
    FrameTooLarge,
    MixedRuntime,
    PipeRuntime,
    PoolConfig,
    SpawnBudget,
    TaskRuntime,
    WorkerDied,
    open_pool,
)
from trio_folk.abc import Birth, Chunk, Job, Runtime, Traits, WorkerId
from trio_folk.testing import Fault, FaultyRuntime, RuntimeContract, Script

WORKER = "trio_folk.testing.contract_worker:worker"
ASYNC_WORKER = "trio_folk.testing.contract_worker:async_worker"


class TestMixedFirst(RuntimeContract):
    """Workers of the first part, a process each."""

    def make_runtime(self) -> Runtime:
        return MixedRuntime((PipeRuntime.python(WORKER), 1), (ForkRuntime(WORKER), 1))


class TestMixedOverflow(RuntimeContract):
    """Workers of another part than the first, whose calls are encoded when they get them."""

    methods = RuntimeContract.methods - {"spin", "exit_with"}
    sleep_can_be_stopped = True

    def make_runtime(self) -> Runtime:
        return MixedRuntime((FaultyRuntime(), 1), (TaskRuntime(ASYNC_WORKER), 2))

    def birth(self, incarnation: int = 1) -> Birth:
        first = super().birth(incarnation)
        return Birth(WorkerId("contract", 2, incarnation), first.generation, first.ladder)


class Parts:
    """Runtimes of scripted workers, and what was made ready by each."""

    def __init__(self, count: int, *, max_frame: int = 1 << 24) -> None:
        self.made: list[str] = []
        self.runtimes = [Recording(number, self.made, max_frame) for number in range(count)]


class Recording(FaultyRuntime):
    def __init__(self, number: int, made: list[str], max_frame: int, *, chunks: bool = True) -> None:
        super().__init__(max_frame=max_frame if number else 1 << 24)
        self.number, self.made, self.chunks = number, made, chunks
        self.forgotten: list[int] = []

    def prepare(self, method: str, params: object) -> Job:
        self.made.append(f"{method} for {self.number}")
        return super().prepare(method, params)

    def prepare_chunk(
        self, fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], *, seconds: float, stop: bool
    ) -> Chunk:
        if not self.chunks:
            return None  # type: ignore[return-value]
        return super().prepare_chunk(fn, items, seconds=seconds, stop=stop)

    def forget(self, generation: int) -> None:
        self.forgotten.append(generation)


async def test_each_part_has_its_slots(autojump_clock: trio.testing.MockClock) -> None:
    """The first ones are the first part's; a pool has as many as all parts together, without being told."""
    parts = Parts(3).runtimes
    mixed = MixedRuntime((parts[0], 2), (parts[1], 1), (parts[2], 3))
    async with open_pool(mixed) as pool:
        await pool.wait_ready(6)
    assert [sorted(birth.id.slot for birth in each.births) for each in parts] == [[0, 1], [2], [3, 4, 5]]


async def test_spares_are_of_the_first_part(autojump_clock: trio.testing.MockClock) -> None:
    """Wherever they are needed then."""
    parts = Parts(2).runtimes
    mixed = MixedRuntime((parts[0], 1), (parts[1], 2))
    async with open_pool(mixed, config=PoolConfig(spares=1)) as pool:
        await pool.wait_ready(3)
        await trio.sleep(1)
        assert pool.statistics().spares == 1
    assert sorted(birth.id.slot for birth in parts[0].births) == [0, 3]


async def test_a_pool_of_another_size_is_refused() -> None:
    """With both numbers; nothing was started."""
    mixed = MixedRuntime((FaultyRuntime(), 1), (FaultyRuntime(), 2))
    with pytest.raises(ValueError, match="made for 3 slots, not 2"):
        async with open_pool(mixed, slots=2):
            pass


async def test_a_call_is_encoded_for_the_part_that_gets_it(autojump_clock: trio.testing.MockClock) -> None:
    """For the first at once, for another when it has a worker there; and once, however often it is moved."""
    parts = Parts(2)
    mixed = MixedRuntime((parts.runtimes[0], 1), (parts.runtimes[1], 1))
    async with open_pool(mixed) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        for method in ("sleep", "sleep", "sleep"):
            nursery.start_soon(pool.execute, method, 1)
        await trio.sleep(0.5)
        assert sorted(parts.made) == ["sleep for 0"] * 3 + ["sleep for 1"]
        assert [len(each.calls) for each in parts.runtimes] == [1, 1]


async def test_what_the_first_part_cannot_send_takes_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    """Refused before anything is decided."""
    mixed = MixedRuntime((FaultyRuntime(max_frame=1000), 1), (FaultyRuntime(), 1))
    async with open_pool(mixed) as pool:
        with pytest.raises(FrameTooLarge):
            await pool.execute("echo", "x" * 1000)
        with pytest.raises(TypeError):
            await pool.execute("echo", object())
        assert sum(slot.jobs for slot in pool.statistics().slots) == 0


async def test_what_only_another_part_cannot_send_fails_there_and_harms_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With that part's own error; its worker serves on."""
    parts = Parts(2, max_frame=1000).runtimes
    mixed = MixedRuntime((parts[0], 1), (parts[1], 1))
    async with open_pool(mixed) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        nursery.start_soon(pool.execute, "sleep", 10)
        await trio.sleep(1)
        with pytest.raises(FrameTooLarge):
            await pool.execute("echo", "x" * 1000)
        assert await pool.execute("echo", "x") == "x"
        assert pool.statistics().spawned == 2


@pytest.mark.parametrize("chunks", [True, False])
async def test_a_map_spreads_over_parts_that_take_chunks_of_other_sizes(
    autojump_clock: trio.testing.MockClock, chunks: bool
) -> None:
    """Or none at all: those do the first item of each, and hand back the others."""
    parts = Parts(2, max_frame=2000).runtimes
    parts[1].chunks = chunks
    mixed = MixedRuntime((parts[0], 1), (parts[1], 1))
    async with open_pool(mixed) as pool:
        await pool.wait_ready(2)
        async with pool.map(operator.neg, range(3000), chunk=200) as results:
            assert [each async for each in results] == [-each for each in range(3000)]
        async with pool.map(operator.neg, [1, "two", 3] * 100, outcomes=True, chunk=10) as outcomes:
            failed = [type(getattr(each, "error", None)) async for each in outcomes]
        assert failed == [type(None), TypeError, type(None)] * 100
    assert all(each.calls for each in parts)


async def test_a_part_that_cannot_boot_spends_nothing_of_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its slots fail, and a near worker that dies is replaced at once; the statistics count both parts."""
    near = FaultyRuntime(lambda birth: Script(at_call={1: Fault.dies()} if birth.id.incarnation < 3 else {}))
    far = FaultyRuntime(then=Script(boot="dies"))
    config = PoolConfig(budget=SpawnBudget(4, 1000))
    async with open_pool(MixedRuntime((near, 1), (far, 3)), config=config) as pool:
        await trio.sleep(100)
        slots = pool.statistics().slots
        assert [slot.state.name for slot in slots] == ["IDLE", "FAILED", "FAILED", "FAILED"]
        budget = pool.statistics().budget
        assert (budget.attempts, budget.failed, budget.remaining) == (8, 4, 4)
        for number in range(3):
            with trio.fail_after(20):
                try:
                    await pool.execute("echo", number)
                except WorkerDied:
                    continue
        assert number == 2
        assert len(near.births) == 3


async def test_a_reload_reaches_every_part(autojump_clock: trio.testing.MockClock) -> None:
    """Each is told which generation goes on; new workers are of it."""
    parts = Parts(2).runtimes
    async with open_pool(MixedRuntime((parts[0], 1), (parts[1], 1))) as pool:
        await pool.wait_ready(2)
        report = await pool.reload()
        assert {slot.slot for slot in report.slots} == {0, 1}
    assert [each.forgotten for each in parts] == [[1], [1]]
    assert [[birth.generation for birth in each.births] for each in parts] == [[0, 1], [0, 1]]


class Told(FaultyRuntime):
    def __init__(self, **traits: bool) -> None:
        super().__init__()
        self.traits = Traits(**({"python": True, "keeps_generations": True} | traits))


@pytest.mark.parametrize("name", ["processes", "interruptible", "recyclable", "python", "keeps_generations"])
def test_the_traits_promise_what_all_parts_keep(name: str) -> None:
    """One part without is enough to have it no more."""
    assert getattr(MixedRuntime((Told(), 1), (Told(), 1)).traits, name)
    assert not getattr(MixedRuntime((Told(), 1), (Told(**{name: False}), 1)).traits, name)


async def test_functions_need_all_parts(autojump_clock: trio.testing.MockClock) -> None:
    """Refused at once, by the name of the part that does not run them."""
    async with open_pool(MixedRuntime((FaultyRuntime(), 1), (Told(python=False), 1))) as pool:
        with pytest.raises(
            TypeError, match=r"<FaultyRuntime.*, a part of the mixed runtime, do not run Python"
        ):
            await pool.run_sync(operator.neg, 1)


class WithoutHome(FaultyRuntime):
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        raise OSError("no home")


async def test_a_part_that_lacks_what_it_needs_fails_the_pool() -> None:
    """By that part's own words; what the others have started is ended."""
    mixed = MixedRuntime((ForkRuntime(WORKER), 1), (WithoutHome(), 1))
    with pytest.raises(Exception, match="no home"):
        async with open_pool(mixed):
            raise AssertionError("the pool must not open")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "at least one part"),
        ([FaultyRuntime()], "its number of slots"),
        ([(FaultyRuntime(),)], "its number of slots"),
        ([("worker.php", 1)], "its number of slots"),
        ([(FaultyRuntime(), 1.5)], "its number of slots"),
        ([(FaultyRuntime(), True)], "its number of slots"),
        ([(FaultyRuntime(), 0)], "at least 1 slot"),
        ([(MixedRuntime((FaultyRuntime(), 1)), 1)], "not itself mixed"),
    ],
)
def test_what_is_no_part_is_refused(parts: list[Any], said: str) -> None:
    """At once, with what a part is."""
    with pytest.raises((TypeError, ValueError), match=said):
        MixedRuntime(*parts)


async def test_a_job_of_another_runtime_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """It would mean nothing to the worker."""
    mixed = MixedRuntime((FaultyRuntime(), 1))
    async with open_pool(mixed) as pool, pool.lease() as lease:
        with pytest.raises(TypeError, match="another runtime"):
            await lease._incarnation.handle.execute(FaultyRuntime().prepare("echo", 1))


async def test_processes_forks_and_tasks_serve_one_pool() -> None:
    """Calls, functions, streams and failures on each, and a map over all of them."""
    mixed = MixedRuntime((PipeRuntime.python(WORKER), 1), (ForkRuntime(WORKER), 1), (TaskRuntime(WORKER), 1))
    async with open_pool(mixed, config=PoolConfig(min_uptime=0)) as pool:
        with trio.fail_after(60):
            await pool.wait_ready(3)
        for _ in range(3):
            async with pool.lease() as lease, pool.lease() as second, pool.lease() as third:
                leases = (lease, second, third)
                assert {each.worker.split(".")[0] for each in leases} == {"pool/0", "pool/1", "pool/2"}
                for each in leases:
                    assert await each.execute("add", [1, 2]) == 3
                    assert await each.run_sync(operator.neg, 5) == -5
                    async with each.stream("count", [3]) as items:
                        assert [item async for item in items] == [0, 1, 2]
                    with pytest.raises(ApplicationError, match="on purpose"):
                        await each.execute("fail", {"message": "on purpose"})
        async with pool.map(operator.neg, range(2000)) as results:
            assert [each async for each in results] == [-each for each in range(2000)]

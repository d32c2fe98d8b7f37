"""What of our own API is cancelled everywhere: each public coroutine that waits.

A scenario is a function that succeeds, what stands around it, and what must hold after it whatever became of it:
above all that the pool still serves. `full.py` tries every point, `test_explore_sample.py` a few of each.

Workers are tasks under a mocked clock, or real processes in real time. The times are short enough for the second.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

import trio_folk
from trio_folk import admin
from trio_folk.abc import Runtime
from trio_folk.testing import Fault, FaultyRuntime, Script
from trio_folk.worker import Worker, current_call

SLOTS = 3
UNIT = 0.02  # seconds
worker = Worker()


@worker.method
async def nap(units: float) -> float:
    await trio.sleep(units * UNIT)
    return units


@worker.method
async def reply(value: object) -> object:
    return value


@worker.method
async def naps(number: int, units: float) -> AsyncIterator[int]:
    for each in range(number):
        current_call().progress(each, number)
        yield each
        await trio.sleep(units * UNIT)


@attrs.frozen(kw_only=True)
class Scenario:
    """What is explored.

    Attributes:
        fn: the function.
        around: gives what it stands in.
        invariant: what must hold.
        hands_over: whether the tasks that it starts are for the pool to end: a cancelled reload leaves new workers.
    """

    fn: Callable[..., Awaitable[None]]
    around: Callable[[], AbstractAsyncContextManager[Any]] | None = None
    invariant: Callable[..., Awaitable[None]] | None = None
    hands_over: bool = False

    def options(self, kind: str) -> dict[str, Any]:
        """Arguments for `explore_cancellation`."""
        return {
            "around": self.around,
            "invariant": self.invariant,
            "may_return": True,  # a call that was answered when it was cancelled returns its answer
            "may_leave_tasks": self.hands_over,
            **({"clock": clock} if kind == "task" else {"patience": 120}),
        }


def clock() -> trio.abc.Clock:
    return trio.testing.MockClock(autojump_threshold=0)


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "task": lambda: trio_folk.TaskRuntime(worker),
    "fork": lambda: trio_folk.ForkRuntime("scenarios:worker"),
    "pipe": lambda: trio_folk.PipeRuntime.python("scenarios:worker"),
}


def scenarios(kind: str) -> dict[str, Scenario]:
    """Those for workers of this kind; without workers, only once."""
    runtime = RUNTIMES[kind]

    @asynccontextmanager
    async def a_pool() -> AsyncIterator[trio_folk.WorkerPool]:
        config = trio_folk.PoolConfig(slots=SLOTS, cancel_grace=0.5)
        async with trio_folk.open_pool(runtime(), config=config) as pool:
            await pool.wait_ready(SLOTS)
            yield pool

    async def opens() -> None:
        async with trio_folk.open_pool(runtime(), slots=SLOTS) as pool:
            assert await pool.execute("nap", [1]) == 1

    async def runs_as_service() -> None:
        async with trio.open_nursery() as nursery:
            pool = await nursery.start(trio_folk.run_pool, runtime())
            assert await pool.execute("nap", [1]) == 1
            nursery.cancel_scope.cancel()

    def on_pool(fn: Callable[..., Awaitable[None]], *, hands_over: bool = False) -> Scenario:
        return Scenario(fn=fn, around=a_pool, invariant=serves, hands_over=hands_over)

    found = {
        "open_pool": Scenario(fn=opens),
        "run_pool": Scenario(fn=runs_as_service),
        "execute": on_pool(executes),
        "execute, too late": on_pool(executes_in_time),
        "run_sync": on_pool(runs_functions),
        "execute, with keys and priorities": on_pool(executes_by_key),
        "map": on_pool(maps),
        "map, unordered": on_pool(maps_in_any_order),
        "stream": on_pool(streams),
        "stream, left early": on_pool(leaves_streams),
        "progress": on_pool(reports),
        "lease": on_pool(leases),
        "reload": on_pool(reloads, hands_over=True),
        "reload, shared": on_pool(reloads_together, hands_over=True),
        "recycle": on_pool(recycles, hands_over=True),
        "scale": Scenario(fn=scales, around=a_pool, invariant=is_quiet, hands_over=True),
        "open_plugins": on_pool(has_plugins),
        "drain": Scenario(fn=drains, around=a_pool, invariant=is_quiet),
    }
    return found | WITHOUT_WORKERS if kind == "task" else found


@asynccontextmanager
async def a_faulty_pool() -> AsyncIterator[trio_folk.WorkerPool]:
    """Every worker dies at its second call."""
    config = trio_folk.PoolConfig(slots=SLOTS, min_uptime=0)
    async with trio_folk.open_pool(
        FaultyRuntime(then=Script(at_call={2: Fault.dies()})), config=config
    ) as pool:
        await pool.wait_ready(SLOTS)
        yield pool


@asynccontextmanager
async def a_mixed_pool() -> AsyncIterator[trio_folk.WorkerPool]:
    """The first slot is of another runtime than the others."""
    runtime = trio_folk.MixedRuntime(
        (trio_folk.TaskRuntime(worker), 1), (trio_folk.TaskRuntime(worker), SLOTS - 1)
    )
    async with trio_folk.open_pool(runtime, config=trio_folk.PoolConfig(cancel_grace=0.5)) as pool:
        await pool.wait_ready(SLOTS)
        yield pool


async def serves(pool: trio_folk.WorkerPool) -> None:
    """Both slots serve, nothing waits, and nothing runs."""
    with trio.fail_after(600):
        await pool.wait_ready(SLOTS)
        async with trio.open_nursery() as nursery:
            for _ in range(SLOTS):
                nursery.start_soon(pool.execute, "reply", ["x"])
    seen = pool.statistics()
    assert (seen.queued, seen.running, seen.ready) == (0, 0, SLOTS), seen


async def is_faulty_but_serves(pool: trio_folk.WorkerPool) -> None:
    """Nothing waits, nothing runs, and a worker comes again."""
    with trio.fail_after(600):
        await pool.wait_ready(SLOTS)
    seen = pool.statistics()
    assert (seen.queued, seen.running, seen.ready) == (0, 0, SLOTS), seen


async def executes(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(3 * SLOTS):
            nursery.start_soon(pool.execute, "nap", [number % 4])


async def executes_by_key(pool: trio_folk.WorkerPool) -> None:
    async def call(number: int) -> None:
        await pool.execute("nap", [number % 2], key=number % 2, priority=number % 3)

    async with trio.open_nursery() as nursery:
        for number in range(3 * SLOTS):
            nursery.start_soon(call, number)


async def executes_in_time(pool: trio_folk.WorkerPool) -> None:
    try:
        await pool.execute("nap", [1000], exec_timeout=5 * UNIT)
    except trio_folk.ExecTimeout:
        await pool.execute("nap", [1])


async def outlives_deaths(pool: trio_folk.WorkerPool) -> None:
    for number in range(3):
        try:
            await pool.execute("sleep", [number], idempotent=True)
        except trio_folk.WorkerDied:
            continue


async def runs_functions(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(3 * SLOTS):
            nursery.start_soon(pool.run_sync, operator.add, number, 1)


async def maps(pool: trio_folk.WorkerPool) -> None:
    async with pool.map(operator.neg, range(9)) as results:
        assert [result async for result in results] == [-number for number in range(9)]


async def maps_in_any_order(pool: trio_folk.WorkerPool) -> None:
    async with pool.map(operator.neg, range(9), ordered=False, outcomes=True, window=4) as results:
        assert len([result.unwrap() async for result in results]) == 9


async def streams(pool: trio_folk.WorkerPool) -> None:
    async with pool.stream("naps", [5, 1], window=2) as items:
        assert [item async for item in items] == list(range(5))


async def leaves_streams(pool: trio_folk.WorkerPool) -> None:
    async def leave(units: float) -> None:
        async with pool.stream("naps", [1000, units]) as items:
            assert await anext(items) == 0

    async with trio.open_nursery() as nursery:
        for units in range(2 * SLOTS):
            nursery.start_soon(leave, units)


async def reports(pool: trio_folk.WorkerPool) -> None:
    told: list[float] = []
    async with pool.stream("naps", [3, 1], progress=lambda done, total: told.append(done)) as items:
        assert [item async for item in items] == [0, 1, 2]
    assert told == sorted(told)


async def leases(pool: trio_folk.WorkerPool) -> None:
    async def lease() -> None:
        async with pool.lease() as leased:
            await leased.execute("nap", [1])
            await leased.execute("reply", ["x"])

    async with trio.open_nursery() as nursery:
        for _ in range(2 * SLOTS):
            nursery.start_soon(lease)


async def check(leased: trio_folk.Lease) -> None:
    assert await leased.execute("nap", [1]) == 1


async def reloads(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "nap", [3])
        await pool.reload(check)


async def reloads_together(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.reload)
        nursery.start_soon(pool.reload, check)


async def recycles(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "nap", [3])
        for slot in range(SLOTS):
            nursery.start_soon(pool.recycle, slot)


async def scales(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(2 * SLOTS):
            nursery.start_soon(pool.execute, "nap", [number])
        for slots in (1, SLOTS, 2, None):
            pool.scale(slots)
            await trio.sleep(UNIT)
        await pool.wait_ready(SLOTS)


class Napping(admin.Plugin):
    """Takes its time for everything."""

    def __init__(self, name: str, pool: trio_folk.WorkerPool) -> None:
        self.name = name
        self._pool = pool

    async def boot(self, pool: trio_folk.WorkerPool) -> None:
        await pool.execute("nap", [1])

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(UNIT)
        task_status.started()
        await trio.sleep_forever()

    async def shutdown(self) -> None:
        assert await self._pool.execute("nap", [1]) == 1


async def has_plugins(pool: trio_folk.WorkerPool) -> None:
    async with admin.open_plugins(pool, [Napping("a", pool), Napping("b", pool)]):
        await trio.sleep(UNIT)


async def drains(pool: trio_folk.WorkerPool) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(2 * SLOTS):
            nursery.start_soon(pool.execute, "nap", [number])
        await trio.sleep(UNIT / 2)
        assert await pool.drain()


async def is_quiet(pool: trio_folk.WorkerPool) -> None:
    seen = pool.statistics()
    assert (seen.queued, seen.running) == (0, 0), seen


@asynccontextmanager
async def a_coordinator() -> AsyncIterator[trio_folk.SpawnCoordinator]:
    async with trio_folk.open_spawn_coordinator(limiter=trio.CapacityLimiter(1), seed=1) as coordinator:
        yield coordinator


async def spawns(coordinator: trio_folk.SpawnCoordinator) -> None:
    async def attempt(key: str) -> None:
        try:
            async with coordinator.spawn(key) as permit:
                await trio.sleep(UNIT)
                if key == "bad":
                    raise ValueError(key)
            permit.stable()
        except ValueError:
            await attempt("good again")

    async with trio.open_nursery() as nursery:
        for key in ("good", "bad", "better"):
            nursery.start_soon(attempt, key)


async def joins(coordinator: Any) -> None:
    async def launch(permit: trio_folk.SpawnPermit) -> str:
        await trio.sleep(UNIT)
        permit.stable()
        return "launched"

    async def ask() -> None:
        assert await coordinator.join("key", launch) == "launched"

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)


async def is_free(coordinator: trio_folk.SpawnCoordinator) -> None:
    """Nothing is in flight; the key can be had at once."""
    seen = coordinator.statistics()
    assert (seen.in_flight, seen.launching, seen.waiting) == (0, 0, 0), seen
    for key in ("good", "key"):
        with coordinator.try_begin(key) as permit:
            permit.cancel()


@asynccontextmanager
async def a_lock_file() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "lock")


async def locks(path: Path) -> None:
    async def take() -> None:
        with await trio_folk.wait_spawn_lock(path):
            await trio.sleep(UNIT)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take)


async def is_unlocked(path: Path) -> None:
    trio_folk.acquire_spawn_lock(path).release()


WITHOUT_WORKERS = {
    "execute, worker dies": Scenario(
        fn=outlives_deaths, around=a_faulty_pool, invariant=is_faulty_but_serves
    ),
    "execute, in a mixed pool": Scenario(fn=executes, around=a_mixed_pool, invariant=serves),
    "stream, in a mixed pool": Scenario(fn=streams, around=a_mixed_pool, invariant=serves),
    "coordinator.spawn": Scenario(fn=spawns, around=a_coordinator, invariant=is_free),
    "coordinator.join": Scenario(fn=joins, around=a_coordinator, invariant=is_free),
    "wait_spawn_lock": Scenario(fn=locks, around=a_lock_file, invariant=is_unlocked),
}

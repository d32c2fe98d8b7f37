"""Workers that hold calls: what a long one, a death or a cancellation means for those behind it. Real processes.

``TRIO_FOLK_DEATHS=1000`` is the long run.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pipelining_jobs as jobs
import pytest
import trio
import trio.testing

from trio_folk import (
    ExecTimeout,
    ForkRuntime,
    PipeRuntime,
    PoolBusy,
    PoolConfig,
    SpawnBudget,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Runtime

BOUND = 60
DEATHS = int(os.environ.get("TRIO_FOLK_DEATHS", "25"))
ENV = {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))}
OFTEN = SpawnBudget(attempts=100_000, window=60)


@asynccontextmanager
async def pool_of(slots: int, runtime: Runtime | None = None, **settings: Any) -> AsyncIterator[WorkerPool]:
    config = PoolConfig(slots=slots, min_uptime=0, budget=OFTEN, **{"prefetch": 8} | settings)
    with trio.fail_after(BOUND + DEATHS):
        async with open_pool(runtime or PipeRuntime.python(env=ENV), config=config) as pool:
            await pool.wait_ready(slots)
            yield pool


class Outcomes(dict[str, Any]):
    """What became of calls, by their names."""

    async def of(self, name: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> None:
        try:
            self[name] = await call(*args, **kwargs)
        except (WorkerDied, ExecTimeout, PoolBusy) as error:
            self[name] = type(error)


def ran(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


async def until_begun(path: Path, name: str) -> None:
    while not ran(path)[name]:
        await trio.sleep(0.002)


async def until_held(pool: WorkerPool, count: int) -> None:
    while pool.statistics().held < count:
        await trio.sleep(0.001)


# -- deaths


@pytest.mark.parametrize("prefetch", [8, "auto"])
async def test_a_death_fails_one_call_and_the_others_run_once(tmp_path: Path, prefetch: Any) -> None:
    """Again and again, at a random place among calls that were given ahead. Counted in the workers."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    chance = random.Random(6)
    async with pool_of(2, ForkRuntime(env=ENV), prefetch=prefetch) as pool:
        for death in range(DEATHS):
            killer = chance.randrange(12)
            async with trio.open_nursery() as nursery:
                for number in range(12):
                    name = f"{death}.{number}{'!' if number == killer else ''}"
                    fn = jobs.die if number == killer else jobs.run
                    nursery.start_soon(outcomes.of, name, pool.run_sync, fn, str(path), name)
        assert pool.statistics().held == 0
    expected = {name: WorkerDied if name.endswith("!") else name for name in outcomes}
    assert outcomes == expected
    assert ran(path) == Counter(dict.fromkeys(outcomes, 1))


async def test_held_calls_survive_that_the_pool_itself_ends_the_worker(tmp_path: Path) -> None:
    """A timeout of the one that runs kills it; the others were never begun, and run elsewhere."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1) as pool:
        async with trio.open_nursery() as nursery:
            run = pool.run_sync
            nursery.start_soon(
                lambda: outcomes.of("long", run, jobs.run, str(path), "long", 60, exec_timeout=0.3)
            )
            await until_begun(path, "long")
            for name in "abc":
                nursery.start_soon(outcomes.of, name, run, jobs.run, str(path), name)
            await until_held(pool, 3)
    assert outcomes == {"long": ExecTimeout, "a": "a", "b": "b", "c": "c"}
    assert set(ran(path).values()) == {1}


# -- long calls


async def test_a_call_stuck_behind_a_long_one_runs_elsewhere(tmp_path: Path) -> None:
    """As soon as another worker is idle. Two long ones hold both, calls are held; one ends, and takes them all."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(outcomes.of, "long", pool.run_sync, jobs.run, str(path), "long", 30)
        nursery.start_soon(outcomes.of, "short", pool.run_sync, jobs.run, str(path), "short", 0.3)
        await until_begun(path, "long")
        await until_begun(path, "short")
        async with trio.open_nursery() as held:
            for name in "abcdef":
                held.start_soon(outcomes.of, name, pool.run_sync, jobs.run, str(path), name)
            await until_held(pool, 6)
            began = time.monotonic()
        assert time.monotonic() - began < 10  # and not thirty
        nursery.cancel_scope.cancel()
    assert outcomes == {name: name for name in ("short", *"abcdef")}
    assert set(ran(path).values()) == {1}


async def test_auto_holds_short_calls_and_takes_them_back_from_behind_a_long_one(tmp_path: Path) -> None:
    """The default: it learns that calls are short, and is wrong once."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(2, prefetch="auto") as pool, trio.open_nursery() as nursery:
        for _ in range(300):
            await pool.run_sync(jobs.pid)
        began = time.monotonic()
        async with trio.open_nursery() as short:
            nursery.start_soon(outcomes.of, "long", pool.run_sync, jobs.run, str(path), "long", 30)
            for number in range(40):
                short.start_soon(outcomes.of, str(number), pool.run_sync, jobs.run, str(path), str(number))
        assert time.monotonic() - began < 10
        nursery.cancel_scope.cancel()
    assert outcomes == {str(number): str(number) for number in range(40)}
    assert {count for name, count in ran(path).items() if name != "long"} == {1}


async def test_behind_code_that_holds_the_interpreter_a_call_waits_and_is_not_lost(tmp_path: Path) -> None:
    """No thread of the worker can answer; when it can, the call has begun or goes elsewhere."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1, prefetch="auto") as pool:
        for _ in range(300):
            await pool.run_sync(jobs.pid)
        async with trio.open_nursery() as nursery:
            fn = jobs.hold_the_interpreter
            nursery.start_soon(outcomes.of, "long", pool.run_sync, fn, str(path), "long", 500)
            for name in "abc":
                nursery.start_soon(outcomes.of, name, pool.run_sync, jobs.run, str(path), name)
    assert outcomes == {name: name for name in ("long", *"abc")}
    assert set(ran(path).values()) == {1}


# -- clocks and limits


async def test_the_execution_clock_of_a_held_call_starts_when_it_begins(tmp_path: Path) -> None:
    """It waits for longer than it may run, and runs all the same."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1) as pool, trio.open_nursery() as nursery:
        run = pool.run_sync
        nursery.start_soon(outcomes.of, "long", run, jobs.run, str(path), "long", 1.5)
        await until_begun(path, "long")
        nursery.start_soon(lambda: outcomes.of("held", run, jobs.run, str(path), "held", exec_timeout=1))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: outcomes.of("late", run, jobs.run, str(path), "late", 30, exec_timeout=1))
        await until_held(pool, 2)
    assert outcomes == {"long": "long", "held": "held", "late": ExecTimeout}


async def test_a_cancelled_held_call_does_not_cost_its_worker(tmp_path: Path) -> None:
    """It never runs, and whoever is before and behind it does, in the same process."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1, cancel_grace=0) as pool:
        before = await pool.run_sync(jobs.pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcomes.of, "long", pool.run_sync, jobs.run, str(path), "long", 0.5)
            await until_begun(path, "long")
            with trio.move_on_after(0.05) as scope:
                await pool.run_sync(jobs.run, str(path), "cancelled")
            assert scope.cancelled_caught
            assert "long" not in outcomes  # it did not wait for that
            nursery.start_soon(outcomes.of, "behind", pool.run_sync, jobs.run, str(path), "behind")
        assert await pool.run_sync(jobs.pid) == before
    assert outcomes == {"long": "long", "behind": "behind"}
    assert ran(path) == Counter(["long", "behind"])


async def test_a_call_that_may_not_wait_is_not_held(tmp_path: Path) -> None:
    """``queue_timeout=0`` means now; and ``max_queue`` counts those that are held."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1, max_queue=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(outcomes.of, "long", pool.run_sync, jobs.run, str(path), "long", 1)
        await until_begun(path, "long")
        with pytest.raises(PoolBusy):
            await pool.run_sync(jobs.pid, queue_timeout=0)
        nursery.start_soon(outcomes.of, "held", pool.run_sync, jobs.run, str(path), "held")
        await until_held(pool, 1)
        with pytest.raises(PoolBusy):
            await pool.run_sync(jobs.pid)
    assert outcomes == {"long": "long", "held": "held"}


async def test_a_lease_waits_for_an_idle_worker_and_has_it_alone(tmp_path: Path) -> None:
    """Nothing is given ahead to it; who came later does not overtake whoever waits for the lease."""
    path = tmp_path / "ran"
    outcomes = Outcomes()
    async with pool_of(1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(outcomes.of, "long", pool.run_sync, jobs.run, str(path), "long", 0.5)
        await until_begun(path, "long")
        nursery.start_soon(outcomes.of, "held", pool.run_sync, jobs.run, str(path), "held")
        await until_held(pool, 1)

        async def behind() -> None:
            while pool.statistics().queued < 1:
                await trio.sleep(0.001)
            await outcomes.of("behind", pool.run_sync, jobs.run, str(path), "behind")

        nursery.start_soon(behind)
        async with pool.lease() as lease:
            assert set(outcomes) == {"long", "held"}
            await lease.run_sync(jobs.run, str(path), "leased", 0.2)
            assert (pool.statistics().held, pool.statistics().queued) == (0, 1)
            assert "behind" not in outcomes
    assert set(outcomes) == {"long", "held", "behind"}
    assert list(ran(path)) == ["long", "held", "leased", "behind"]


async def test_a_worker_that_cannot_give_back_gets_one_call_at_a_time() -> None:
    """A worker in another language: whatever the setting says."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node: apt-get install nodejs")
    program = Path(__file__).parents[2] / "examples" / "node_worker" / "worker.mjs"
    async with pool_of(1, PipeRuntime([node, str(program)])) as pool, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(pool.execute, "echo", number)
        await trio.lowlevel.checkpoint()
        assert pool.statistics().held == 0

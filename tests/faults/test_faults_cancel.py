"""A cancellation reaches the work: it ends, and its worker with it only if it does not listen."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import cancel_jobs
import pytest
import trio

from trio_folk import (
    ApplicationError,
    ForkRuntime,
    PipeRuntime,
    PoolConfig,
    SpawnBudget,
    WorkerPool,
    open_pool,
)
from trio_folk._pool.events import EventStream, PoolEvent
from trio_folk.abc import Runtime

BOUND = 60
MANY = int(os.environ.get("TRIO_FOLK_CANCELS", "500"))
ENV = {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))}


def spawned(target: str) -> Runtime:
    return PipeRuntime.python(target, env=ENV)


def forked(target: str) -> Runtime:
    return ForkRuntime(target, env=ENV)


ways = pytest.mark.parametrize("way", [spawned, forked])


async def until(trace: Path, text: str = "") -> str:
    """What a job wrote, once it wrote this."""
    while not (trace.exists() and (said := trace.read_text()) and said.startswith(text)):
        await trio.sleep(0.002)
    return said


async def next_of(events: EventStream, kind: str) -> PoolEvent:
    async for event in events:
        if event.kind == kind:
            return event
    raise AssertionError(f"the pool ended, and nothing {kind}")


@asynccontextmanager
async def pool_of(runtime: Runtime, grace: float = BOUND) -> AsyncIterator[WorkerPool]:
    config = PoolConfig(slots=1, cancel_grace=grace, terminate_grace=0.5, min_uptime=0)
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=config) as pool:
            yield pool


async def cancelled(pool: WorkerPool, method: str, trace: Path) -> None:
    """Cancel a call of this method once it has begun."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.execute, method, [str(trace)])
            await until(trace)
            scope.cancel()
    assert scope.cancelled_caught


@ways
@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("cancel_jobs:polite", "steps"),
        ("cancel_jobs:eager", "sleeps"),
        ("cancel_jobs:eager", "steps"),
    ],
    ids=["sync", "async", "sync in a thread"],
)
async def test_a_job_that_listens_cleans_up_and_its_worker_stays(
    way: object, target: str, method: str, tmp_path: Path
) -> None:
    """The caller goes on when the work has ended; the next call has the same pid."""
    async with pool_of(way(target)) as pool:  # type: ignore[operator]
        pid = await pool.execute("pid")
        trace = tmp_path / "trace"
        await cancelled(pool, method, trace)
        assert trace.read_text() == "cleaned up"
        assert await pool.execute("pid") == pid
        assert (pool.statistics().cancelled, pool.statistics().spawned) == (1, 1)


async def test_a_job_that_ends_by_itself_meanwhile_is_not_lost(tmp_path: Path) -> None:
    """Cancelled or done, never both: what it answers instead of stopping is its outcome."""
    async with pool_of(spawned("cancel_jobs:polite")) as pool:
        trace = tmp_path / "trace"
        answers = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def call() -> None:
                    answers.append(await pool.execute("looks", [str(trace)]))

                nursery.start_soon(call)
                await until(trace)
                scope.cancel()
        assert answers == ["so far"]


async def test_a_failure_while_it_cleans_up_is_the_calls_outcome(tmp_path: Path) -> None:
    """As with trio: an exception raised during a cancellation takes its place."""
    async with pool_of(spawned("cancel_jobs:eager")) as pool:
        with pytest.raises(ExceptionGroup) as caught:
            await cancelled(pool, "fails_when_cancelled", tmp_path / "trace")
        (error,) = caught.value.exceptions
        assert isinstance(error, ApplicationError)
        assert "while it cleaned up" in error.message


@ways
async def test_a_loop_that_does_not_listen_dies_with_its_child_after_the_grace(
    way: object, tmp_path: Path
) -> None:
    """Both are gone when the grace is over, the reason says so, and the slot serves on."""
    async with pool_of(way("cancel_jobs:polite"), grace=0.2) as pool:  # type: ignore[operator]
        trace = tmp_path / "trace"
        with pool.events() as events:
            began = time.monotonic()
            await cancelled(pool, "spin_with_child", trace)
            held = time.monotonic() - began
            assert held >= 0.2
            for pid in trace.read_text().split():
                while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
                    await trio.sleep(0.001)
            assert time.monotonic() - began - held < 2
            assert await pool.execute("pid") != int(trace.read_text().split()[0])
            ended = await next_of(events, "ended")
        assert "did not end within cancel_grace (0.2 s)" in (ended.reason or "")
        assert [stage for stage, _ in ended.stages] == ["cancel", "TERMINATE"]
        assert ended.stages[0][1] == pytest.approx(0.2, rel=1)


async def test_without_a_grace_the_ladder_begins_at_once(tmp_path: Path) -> None:
    """cancel_grace=0 asks nobody."""
    async with pool_of(spawned("cancel_jobs:polite"), grace=0) as pool:
        trace = tmp_path / "trace"
        await cancelled(pool, "steps", trace)
        assert trace.read_text() == "began"
        assert pool.statistics().cancelled == 1


async def test_a_worker_that_announced_nothing_is_ended_at_once() -> None:
    """A plain worker, as in PHP, is not asked and not waited for."""
    zoo = str(Path(__file__).with_name("zoo.py"))
    runtime = PipeRuntime([sys.executable, zoo, "animal"], env={"PYTHONPATH": str(Path(__file__).parents[2])})
    async with pool_of(runtime) as pool:
        began = time.monotonic()
        with trio.move_on_after(0.1):
            await pool.execute("sleeps", 60)
        assert time.monotonic() - began < BOUND / 2
        assert await pool.execute("echo", "next") == "next"
        assert pool.statistics().spawned == 2


@ways
@pytest.mark.parametrize("target", ["cancel_jobs:polite", "cancel_jobs:eager"])
async def test_the_callers_deadline_travels_with_the_call(way: object, target: str) -> None:
    """As a duration; without one there is none."""
    async with pool_of(way(target)) as pool:  # type: ignore[operator]
        with trio.move_on_after(1000):
            left = await pool.execute("remaining")
        assert 0 < left <= BOUND, "the test's own deadline is nearer"
        with trio.CancelScope(shield=True):
            assert await pool.execute("remaining") == float("inf")


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("cancel_jobs:polite", "context"),
        ("cancel_jobs:eager", "context"),
        ("cancel_jobs:eager", "context in a thread"),
    ],
)
async def test_context_variables_travel_with_the_call(target: str, method: str) -> None:
    """Those that the pool names, where they are set; each call has its own caller's, and none the last one's."""
    locale: ContextVar[str] = ContextVar("locale")
    config = PoolConfig(slots=1, context=(cancel_jobs.request_id, locale))
    with trio.fail_after(BOUND):
        async with open_pool(spawned(target), config=config) as pool:

            async def ask(name: str) -> None:
                cancel_jobs.request_id.set(name)
                assert await pool.execute(method) == [name, {"request_id": name}]

            async with trio.open_nursery() as nursery:
                for name in "abcdef":
                    nursery.start_soon(ask, name)
            with trio.CancelScope(shield=True):
                assert await pool.execute(method) == ["none", {}]
            locale.set("de")
            async with pool.lease() as worker:
                assert await worker.execute(method) == ["none", {"locale": "de"}]
            locale.set(object())  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await pool.execute(method)
            assert pool.statistics().spawned == 1


def test_two_context_variables_of_one_name_are_refused() -> None:
    """They would be one in the worker."""
    with pytest.raises(ValueError, match="same name"):
        PoolConfig(context=(ContextVar("a"), ContextVar("a")))
    with pytest.raises(TypeError, match="context variables"):
        PoolConfig(context=("a",))  # type: ignore[arg-type]


async def test_random_cancels_among_many_calls(tmp_path: Path) -> None:
    """Each call has one outcome, no withdrawn call ran, and nothing is left (conftest looks)."""
    chance = random.Random(5)
    outcomes = {"done": 0, "cancelled": 0}
    config = PoolConfig(slots=4, min_uptime=0, budget=SpawnBudget(100_000, 30))
    asked = 10 * MANY
    with trio.fail_after(BOUND + MANY / 10):
        async with open_pool(spawned("cancel_jobs:polite"), config=config) as pool:
            await pool.wait_ready(4)

            async def caller(calls: int) -> None:
                for _ in range(calls):
                    seconds = chance.uniform(0, 0.002) if chance.random() < 0.1 else float("inf")
                    with trio.move_on_after(seconds) as scope:
                        await pool.execute("work", [chance.choice([0, 0, 0, 0.001])])
                        outcomes["done"] += 1
                    outcomes["cancelled"] += scope.cancelled_caught

            async with trio.open_nursery() as nursery:
                for _ in range(16):
                    nursery.start_soon(caller, asked // 16)
            ran = 0
            for slot in pool.statistics().slots:
                ran += slot.jobs
            statistics = pool.statistics()
    assert sum(outcomes.values()) == asked // 16 * 16
    assert outcomes["cancelled"] > MANY / 10
    assert statistics.succeeded == outcomes["done"]
    assert statistics.died == statistics.failed == 0
    assert statistics.spawned == 4, "every job listens: no worker was ended"
    assert ran <= outcomes["done"] + statistics.cancelled

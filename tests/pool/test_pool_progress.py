"""Progress of running jobs reaches the caller's callback, in his context, and ends with his call."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
import trio
from test_pool_stream import make
from trio.testing import MockClock

from trio_folk import ApplicationError, TaskRuntime, WorkerPool, open_pool
from trio_folk.worker import current_call

name: ContextVar[str] = ContextVar("name", default="nobody")


def half() -> str:
    current_call().progress(1, 2)
    current_call().progress(2, 2)
    return "done"


async def test_reports_reach_the_callback(autojump_clock: MockClock) -> None:
    """Of methods, functions and streams; the last one always."""
    async with open_pool(TaskRuntime(make()[0]), slots=1) as pool:
        told: list[Any] = []
        assert await pool.execute("work", 10, progress=lambda *each: told.append(each)) == 10
        assert told[0] == (1, 10)
        assert told[-1] == (10, 10)
        told.clear()
        assert await pool.run_sync(half, progress=lambda *each: told.append(each)) == "done"
        assert told == [(1, 2), (2, 2)]
        told.clear()
        async with pool.stream("reports", [3], progress=lambda *each: told.append(each)) as items:
            assert [item async for item in items] == [0, 1, 2]
        assert told[-1] == (3, 3)


async def test_without_a_callback_reports_go_nowhere(autojump_clock: MockClock) -> None:
    """The same methods, and nobody asked."""
    async with open_pool(TaskRuntime(make()[0]), slots=1) as pool:
        assert await pool.execute("work", 10) == 10
        assert await pool.run_sync(half) == "done"


async def test_what_a_callback_raises_cancels_the_call_and_is_raised(autojump_clock: MockClock) -> None:
    """Long before the call would have ended, and it is not called again; the worker stays."""
    worker, did = make()
    told: list[Any] = []

    def refuse(done: float, total: float | None) -> None:
        told.append(done)
        raise KeyError("enough")

    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        start = trio.current_time()
        with pytest.raises(KeyError, match="enough"):
            await pool.execute("work", 1000, progress=refuse)
        assert trio.current_time() - start < 200
        assert did == ["cancelled"]
        with pytest.raises(KeyError, match="enough"):
            async with pool.stream("reports", [1000], progress=refuse) as items:
                async for _ in items:
                    pass
        assert told == [1, 1]
        assert pool.statistics().spawned == 1


async def test_a_callback_runs_in_its_callers_context(autojump_clock: MockClock) -> None:
    """Although one of the callers reads for all who share the worker; its error ends only its own call."""
    found: dict[str, set[str]] = {}

    async def call(pool: WorkerPool, who: str) -> None:
        def note(done: float, total: float | None) -> None:
            found.setdefault(who, set()).add(name.get())
            if who == "c":
                raise KeyError

        name.set(who)
        try:
            assert await pool.execute("work", 10, progress=note) == 10
        except KeyError:
            assert who == "c"

    shared = make_shared()
    async with open_pool(TaskRuntime(shared), slots=1) as pool, trio.open_nursery() as nursery:
        for who in "abc":
            nursery.start_soon(call, pool, who)
    assert found == {"a": {"a"}, "b": {"b"}, "c": {"c"}}


async def test_the_calls_own_error_is_raised_with_a_callback_too(autojump_clock: MockClock) -> None:
    """A callback changes nothing about how a call ends."""
    async with open_pool(TaskRuntime(make()[0]), slots=1) as pool:
        with pytest.raises(ApplicationError, match="method not found"):
            await pool.execute("no_such_method", progress=lambda done, total: None)


def make_shared() -> Any:
    from trio_folk.worker import Worker

    worker = Worker(concurrency=3)
    worker.method("work")(make()[0].methods["work"])
    return worker

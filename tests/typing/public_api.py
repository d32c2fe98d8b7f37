"""The types that users rely on, checked by mypy and pyright; nothing here is ever run.

A line with ``type: ignore`` is a mistake that must be refused: under ``warn_unused_ignores`` it fails the check
when it no longer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, assert_type

import outcome
import trio

import trio_folk
import trio_folk.testing
from trio_folk import PipeRuntime, PoolConfig, WorkerPool


def size(path: str) -> int:
    return len(path)


def join(left: str, right: int) -> bytes:
    return f"{left}{right}".encode()


async def open_close(names: Sequence[str]) -> None:
    runtime = assert_type(PipeRuntime.python("myapp.jobs:worker"), PipeRuntime)
    assert_type(PipeRuntime.php("worker.php"), PipeRuntime)
    assert_type(PipeRuntime(["ruby", b"worker.rb"], env={"A": "b"}), PipeRuntime)
    assert_type(PipeRuntime.python(isolation="pidns"), PipeRuntime)
    assert_type(PipeRuntime.python(transfer="view", max_shared=1 << 30), PipeRuntime)
    assert_type(trio_folk.ForkRuntime(transfer="copy", max_shared=0), trio_folk.ForkRuntime)
    on_ray = trio_folk.RayRuntime("jobs:worker", address="a:1", code=["src/app"], gpus=1, placement="spread")
    assert_type(on_ray, trio_folk.RayRuntime)
    trio_folk.RayRuntime(placement="anywhere")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    PipeRuntime.python(transfer="move")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    PipeRuntime.php("worker.php", isolation="pid")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    config = assert_type(PoolConfig(slots=2, exec_timeout=1, max_jobs=1000), PoolConfig)
    async with trio_folk.open_pool(runtime, slots=4, config=config, name="thumbs") as pool:
        assert_type(pool, WorkerPool)
        assert_type(await pool.execute("shrink", {"path": names[0]}, exec_timeout=1), Any)
        assert_type(await pool.drain(), bool)
        assert_type(await pool.wait_ready(2), None)
        assert_type(pool.statistics().ready, int)


async def run_sync(pool: WorkerPool) -> None:
    assert_type(await pool.run_sync(size, "cat.png"), int)
    assert_type(await pool.run_sync(join, "a", 1, queue_timeout=0, idempotent=True), bytes)
    await pool.run_sync(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.run_sync(size, "a", exec_timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with pool.lease() as worker:
        assert_type(await worker.run_sync(size, "cat.png"), int)
        assert_type(await worker.execute("shrink", {}), Any)


def told(done: int, total: int | None) -> None:
    assert_type(total, int | None)


async def map_over(pool: WorkerPool, names: Sequence[str], channel: trio.MemoryReceiveChannel[str]) -> None:
    async with pool.map(size, names) as sizes:
        async for each in sizes:
            assert_type(each, int)
    async with pool.map(join, names, range(9), ordered=False, window=4) as joined:
        async for text in joined:
            assert_type(text, bytes)
    async with pool.map(size, names, outcomes=True) as outcomes:
        async for result in outcomes:
            assert_type(result, outcome.Outcome[int])
            assert_type(result.unwrap(), int)
    async with pool.map(size, channel, names, chunk=10, progress=told) as awaited:
        assert_type(await awaited.__anext__(), int)
    pool.map(size, names, chunk="auto")
    pool.map(size, names, chunk="large")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    pool.map(size, names, progress=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pool.map(size, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def reported(done: float, total: float | None) -> None:
    assert_type(total, float | None)


async def stream(pool: WorkerPool) -> None:
    async with pool.stream("rows", {"table": "a"}, window=4, exec_timeout=1, progress=reported) as items:
        assert_type(items, trio_folk.StreamItems)
        async for item in items:
            assert_type(item, Any)
    async with pool.lease() as worker, worker.stream("rows", window=1) as leased:
        assert_type(await anext(leased), Any)
    assert_type(await pool.execute("shrink", progress=reported), Any)
    assert_type(await pool.run_sync(size, "a", progress=reported), int)
    pool.stream(size)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.execute("shrink", progress=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def service(nursery: trio.Nursery, runtime: PipeRuntime) -> None:
    pool: WorkerPool = await nursery.start(trio_folk.run_pool, runtime)
    assert_type(pool.name, str)


async def errors(pool: WorkerPool) -> None:
    try:
        await pool.execute("shrink")
    except trio_folk.ApplicationError as error:
        assert_type(error.code, int)
        assert_type(error.remote_traceback, str | None)
    except trio.TooSlowError:  # both of our timeouts are one
        raise
    except trio_folk.FolkError as error:
        assert_type(error.pid, int | None)
        assert_type(error.stderr, tuple[str, ...])


async def leaks() -> None:
    check = trio_folk.testing.assert_nothing_left(timeout=1)
    synchronous: AbstractContextManager[None] = check
    asynchronous: AbstractAsyncContextManager[None] = check
    with synchronous:
        pass
    async with asynchronous:
        pass


def refused() -> None:
    trio_folk.open_pool("myapp.jobs:worker")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

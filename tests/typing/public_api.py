"""The types that users rely on, checked by mypy and pyright; nothing here is ever run.

A line with ``type: ignore`` is a mistake that must be refused: under ``warn_unused_ignores`` it fails the check
when it no longer is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, Literal, assert_type

import outcome
import trio

import trio_folk
import trio_folk.http
import trio_folk.testing
from trio_folk import ForkRuntime, MixedRuntime, PipeRuntime, PoolConfig, WorkerPool, admin
from trio_folk.abc import CallEnd, CallRecord, Instrument, Key, Router
from trio_folk.telemetry import Health, HealthStatus, OpenTelemetry, Prometheus, serve_telemetry


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


class Least(Router):
    def route(self, key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        return min(slots, key=load)


async def routed(pool: WorkerPool) -> None:
    assert_type(await pool.execute("shrink", {}, key=("cat.png", 64), priority=2), Any)
    assert_type(await pool.run_sync(size, "cat.png", key=b"cat", priority=-1), int)
    await pool.execute("shrink", key=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.run_sync(size, "a", priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with pool.lease(key="cat", priority=1) as worker:
        assert_type(worker, trio_folk.Lease)
    async with pool.stream("pages", key="cat", priority=1) as pages:
        assert_type(pages, trio_folk.StreamItems)
    async with pool.map(size, ["a"], priority=-1) as sizes:
        assert_type(await sizes.__anext__(), int)
    assert_type(pool.statistics().slots[0].queued, int)
    trio_folk.open_pool(PipeRuntime.python(), router=Least())
    trio_folk.open_pool(PipeRuntime.python(), router=trio_folk.ConsistentHash())
    trio_folk.open_pool(PipeRuntime.python(), router=Least)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(MixedRuntime((PipeRuntime.python(), 4), (ForkRuntime(), 8)), MixedRuntime)
    MixedRuntime(PipeRuntime.python())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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


class Counting(Instrument):
    def call_finished(self, call: CallRecord, error: BaseException | None) -> None:
        assert_type(call.worker, str | None)
        assert_type(call.run_seconds, float)
        assert_type(call.end, CallEnd | None)


async def full() -> HealthStatus:
    return HealthStatus.WARN


async def telemetry(nursery: trio.Nursery, runtime: PipeRuntime) -> None:
    metrics = assert_type(Prometheus(), Prometheus)
    watched = [metrics, OpenTelemetry(), Counting()]
    async with trio_folk.open_pool(runtime, instruments=watched) as pool:
        pool.add_instrument(Counting())
        pool.add_instrument(full)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        health = Health(pool, timeout=2)
        health.add("disk", full, timeout=1, live=True)
        health.add("disk", size)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert_type((await health.check()).checks["disk"].status, HealthStatus)
        serve = partial(serve_telemetry, metrics=metrics, health=health, port=9100)
        address: tuple[str, int] = await nursery.start(serve)
        assert_type(address[1], int)
        assert_type(metrics.page(), tuple[str, bytes])
        assert_type(pool.state, Literal["open", "draining", "closed"])


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


async def steered(pool: WorkerPool) -> None:
    assert_type(await pool.recycle(3), str)
    pool.scale(2)
    pool.scale(None)
    assert_type(pool.statistics(memory=True).slots[0].memory, int | None)
    await pool.recycle("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pool.scale(2.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Uptime(admin.Plugin):
    name = "uptime"
    shutdown_timeout = 2

    async def boot(self, pool: WorkerPool) -> None:
        assert_type(pool.name, str)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    def methods(self) -> dict[str, admin.Method]:
        return {"seconds": self.seconds}

    async def seconds(self, params: Any) -> float:
        return trio.current_time()


async def administered(pool: WorkerPool, nursery: trio.Nursery) -> None:
    async with admin.open_plugins(pool, [Uptime()]) as plugins:
        assert_type(plugins.names, tuple[str, ...])
        path: str = await nursery.start(admin.serve, pool)
        await nursery.start(partial(admin.serve, [pool, pool], plugins=plugins))
        client = assert_type(await admin.connect(path), admin.AdminClient)
        assert_type(await client.recycle(3, "thumbs"), str)
        assert_type(await client.scale(None), int)
        assert_type(await client.drain(), bool)
        assert_type(await client.call("uptime.seconds"), Any)
        async with client.watch(interval=1) as samples:
            async for sample in samples:
                assert_type(sample, dict[str, Any])
    assert_type(admin.find_sockets(), list[str])
    await admin.serve("pool")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def refused() -> None:
    trio_folk.open_pool("myapp.jobs:worker")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def feed(pool: WorkerPool, source: AsyncIterator[bytes]) -> None:
    async with pool.stream("store", ["name"], feed=source) as items:
        assert_type([item async for item in items], list[Any])
        assert_type(items.result, Any)
    pool.stream("store", feed=b"bytes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def http(nursery: trio.Nursery, pool: WorkerPool) -> None:
    runtime = trio_folk.http.application("mysite:app", interface="wsgi", concurrency=2)
    assert_type(runtime, PipeRuntime | trio_folk.ForkRuntime)
    trio_folk.http.application("mysite:app", interface="cgi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    limits = assert_type(trio_folk.http.HttpConfig(max_body=10, health=None), trio_folk.http.HttpConfig)
    assert_type(trio_folk.http.HttpFront(pool, config=limits), trio_folk.http.HttpFront)
    site: trio_folk.http.Site = await nursery.start(
        partial(trio_folk.http.serve, runtime, bind=["127.0.0.1:0"], http=limits)
    )
    assert_type(site.addresses, tuple[str, ...])
    assert_type(site.pool, WorkerPool)
    await trio_folk.http.serve("mysite:app", stop=trio.Event(), watch=["src/"])

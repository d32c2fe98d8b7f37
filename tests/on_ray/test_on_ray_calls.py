"""Calls on Ray's workers beyond the contract: given ahead and taken back, cut short, and with large data."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import ray_jobs
import trio

from trio_folk import ExecTimeout, PoolConfig, RayRuntime, SpawnBudget, WorkerPool, open_pool

BOUND = 90.0
LONG = 3600.0
pytestmark = pytest.mark.usefixtures("cluster")


def config(slots: int, **settings: object) -> PoolConfig:
    """Of a pool whose workers are killed on purpose."""
    return PoolConfig(slots=slots, min_uptime=0, budget=SpawnBudget(40, 60), **settings)  # type: ignore[arg-type]


async def nap(pool: WorkerPool, seconds: float, pids: list[int]) -> None:
    """Call it, and note where it ran."""
    pids.append(await pool.execute("nap", [seconds]))


async def test_calls_given_ahead_run_elsewhere_when_one_takes_long() -> None:
    """They are given back, and no call is lost or run twice."""
    pids: list[int] = []
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime("ray_jobs:worker", cpus=0), config=config(2, prefetch=8)) as pool:
            await pool.wait_ready(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.execute, "nap", [LONG])
                async with trio.open_nursery() as callers:
                    for _ in range(12):
                        callers.start_soon(nap, pool, 0.01, pids)
                nursery.cancel_scope.cancel()
    assert len(pids) == 12


async def test_a_call_that_waits_in_a_worker_is_cancelled_without_harm() -> None:
    """The worker gives it back, and finishes what it runs."""
    pids: list[int] = []
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime("ray_jobs:worker", cpus=0), config=config(1, prefetch=4)) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nap, pool, 3.0, pids)  # longer than cancel_grace
                await trio.sleep(0.2)
                with trio.move_on_after(0.2) as scope:
                    await pool.execute("nap", [LONG])
                assert scope.cancelled_caught
            await nap(pool, 0, pids)
    assert len(set(pids)) == 1


async def test_a_timeout_costs_its_worker_and_no_other_call() -> None:
    """What the worker holds beside it runs on another."""
    pids: list[int] = []
    with trio.fail_after(BOUND):
        async with open_pool(
            RayRuntime("ray_jobs:worker", cpus=0), config=config(1, prefetch=4, cancel_grace=0)
        ) as pool:
            async with trio.open_nursery() as nursery:

                async def overdue() -> None:
                    with pytest.raises(ExecTimeout):
                        await pool.execute("nap", [LONG], exec_timeout=0.5)

                nursery.start_soon(overdue)
                await trio.sleep(0.1)
                for _ in range(3):
                    nursery.start_soon(nap, pool, 0, pids)
    assert len(pids) == 3


async def test_a_call_that_listens_ends_by_itself() -> None:
    """Cancelled, it costs no worker."""
    pids: list[int] = []
    with trio.fail_after(BOUND):
        async with open_pool(
            RayRuntime("ray_jobs:worker", cpus=0), config=config(1, cancel_grace=30)
        ) as pool:
            await nap(pool, 0, pids)
            with trio.move_on_after(0.3) as scope:
                await pool.execute("listen", [LONG])
            assert scope.cancelled_caught
            await nap(pool, 0, pids)
    assert len(set(pids)) == 1


async def test_calls_given_ahead_report_each_for_itself() -> None:
    """Also while another runs, and one that is given back reports where it runs."""
    told: dict[int, list[float]] = {number: [] for number in range(8)}
    runtime = RayRuntime("trio_folk.testing.contract_worker:worker", cpus=0)

    async def call(pool: WorkerPool, number: int) -> None:
        def note(done: float, total: float | None) -> None:
            told[number].append(done)

        assert await pool.execute("half", [number], progress=note) == number

    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=config(2, prefetch=4)) as pool:
            async with trio.open_nursery() as nursery:
                for number in told:
                    nursery.start_soon(call, pool, number)
    assert [reports[-1] for reports in told.values()] == list(told)


async def test_large_arrays_travel_beside_the_frames() -> None:
    """More than a frame holds, both ways; what arrives is a view of Ray's object store that outlives the pool."""
    array = np.arange(4_000_000)
    assert array.nbytes > 16 * 1024 * 1024
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime(cpus=0), slots=1) as pool:
            back, writeable = await pool.run_sync(ray_jobs.doubled, array)
    assert not writeable
    assert not back.flags.writeable
    assert (back == array * 2).all()


async def test_what_does_not_fit_into_the_store_is_refused_and_harms_nobody() -> None:
    """A value larger than max_shared and a frame."""
    from trio_folk import FrameTooLarge

    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime(cpus=0, max_shared=1024 * 1024), slots=1) as pool:
            with pytest.raises(FrameTooLarge, match="max_shared"):
                await pool.run_sync(ray_jobs.doubled, np.zeros(4_000_000))
            assert await pool.run_sync(len, "abc") == 3


async def test_streams_and_maps_work_as_anywhere() -> None:
    """In order, with an end."""
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime("trio_folk.testing.contract_worker:worker", cpus=0), slots=2) as pool:
            async with pool.stream("count", [500]) as items:
                assert [each async for each in items] == list(range(500))
            async with pool.map(abs, range(-500, 0)) as results:
                assert [each async for each in results] == list(range(500, 0, -1))


async def test_a_call_is_fed_what_it_asks_for() -> None:
    """Five megabytes, a piece at a time, while its items come back."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime("trio_folk.testing.contract_worker:worker", cpus=0), slots=1) as pool:
            async with pool.stream("gather", feed=pieces()) as items:
                assert sum([each async for each in items]) == 5_000_000
            assert items.result == 5_000_000

"""Nodes that end, freeze, or have not what is asked for: what a pool on Ray makes of them."""

from __future__ import annotations

import time

import pytest
import ray_jobs
import trio
from ray_cluster import Cluster

from trio_folk import BootFailed, PoolConfig, RayRuntime, SpawnBudget, WorkerDied, WorkerPool, open_pool

HEARTBEAT = 4.0
BOUND = 90.0
"""Seconds for anything here; each takes a tenth."""
CONFIG = PoolConfig(slots=4, min_uptime=0, budget=SpawnBudget(40, 60), boot_timeout=BOUND)


class Load:
    """Callers that never pause, and how each of their calls ended."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.pids: set[int] = set()
        self.deaths: list[WorkerDied] = []
        self.began = self.ended = 0
        self.over = False

    async def call(self) -> None:
        """One caller."""
        while not self.over:
            self.began += 1
            try:
                self.pids.add(await self.pool.execute("nap", [0.05]))
            except WorkerDied as error:
                self.deaths.append(error)
            self.ended += 1

    async def seen(self, number: int) -> None:
        """Return when workers of so many processes have answered from now on."""
        self.pids.clear()
        while len(self.pids) < number:
            await trio.sleep(0.05)


async def test_a_node_that_is_killed_costs_the_calls_on_it_and_nothing_else(cluster: Cluster) -> None:
    """Each call has one outcome, those that ran there WorkerDied with Ray's reason; the pool heals elsewhere."""
    doomed = cluster.add("doomed")
    cluster.wait_nodes(3)
    runtime = RayRuntime("ray_jobs:worker", cpus=0.1, placement="spread", heartbeat=30)
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=CONFIG) as pool:
            await pool.wait_ready(4)
            load = Load(pool)
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(load.call)
                await load.seen(4)
                lost = set(doomed.actors())
                assert lost
                await trio.to_thread.run_sync(doomed.kill)
                cluster.others.remove(doomed)
                await load.seen(4)
                assert not load.pids & lost
                load.over = True
    assert load.began == load.ended
    assert 1 <= len(load.deaths) <= len(lost)
    assert all("Ray says" in str(each) or "Ray lost touch" in str(each) for each in load.deaths)
    await trio.to_thread.run_sync(cluster.wait_nodes, 2)


async def test_a_node_that_freezes_is_fenced_within_the_heartbeat(cluster: Cluster) -> None:
    """Its calls end as WorkerDied, new workers are placed elsewhere; thawed, its workers are gone."""
    frozen = cluster.add("frozen")
    cluster.wait_nodes(3)
    runtime = RayRuntime("ray_jobs:worker", cpus=0.1, placement="spread", heartbeat=HEARTBEAT)
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=CONFIG) as pool:
            await pool.wait_ready(4)
            load = Load(pool)
            try:
                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(load.call)
                    await load.seen(4)
                    lost = set(frozen.actors())
                    assert lost
                    began = time.monotonic()
                    frozen.freeze()
                    while len(load.deaths) < len(lost):
                        await trio.sleep(0.05)
                    took = time.monotonic() - began
                    await load.seen(4)
                    healed = time.monotonic() - began
                    load.over = True
            finally:
                frozen.thaw()
            assert not load.pids & lost
            while set(frozen.actors()) & lost:
                await trio.sleep(0.05)
    print(f"fenced after {took:.1f} s of a heartbeat of {HEARTBEAT:g} s; healed after {healed:.1f} s")
    assert took < HEARTBEAT * 10
    assert load.began == load.ended
    assert all("heartbeat" in str(each) for each in load.deaths)
    await trio.to_thread.run_sync(frozen.kill)
    cluster.others.remove(frozen)
    await trio.to_thread.run_sync(cluster.wait_nodes, 2)


async def test_what_no_node_has_is_named_in_time(cluster: Cluster) -> None:
    """A BootFailed within ready_timeout, with what was asked for and what there is."""
    runtime = RayRuntime(cpus=0.1, gpus=3, resources={"unobtainium": 2}, ready_timeout=2)
    began = trio.current_time()
    with trio.fail_after(BOUND):
        with pytest.raises(BootFailed, match="no node of Ray has what a worker asks for") as caught:
            async with open_pool(runtime, config=PoolConfig(slots=1, budget=SpawnBudget(1, 60))):
                pytest.fail("a worker was placed")
    assert trio.current_time() - began < 20
    told = str(caught.value)
    assert "GPU 3" in told
    assert "unobtainium 2" in told
    assert "other 100" in told


async def test_what_is_in_use_is_told_apart_from_what_is_not_there(cluster: Cluster) -> None:
    """The error says what is free."""
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime(cpus=0, resources={"other": 90}), slots=1):
            runtime = RayRuntime(cpus=0, resources={"other": 20}, ready_timeout=2)
            with pytest.raises(BootFailed, match="was not ready within 2 s") as caught:
                async with open_pool(runtime, config=PoolConfig(slots=1, budget=SpawnBudget(1, 60))):
                    pytest.fail("a worker was placed")
    assert "other 10" in str(caught.value)


async def test_resources_and_nodes_place_workers(cluster: Cluster) -> None:
    """By a resource that one node has, and by the node's own id; a node that is not there is refused by name."""
    import ray

    (other,) = [each["NodeID"] for each in ray.nodes() if each["Alive"] and "other" in each["Resources"]]
    there = set()
    with trio.fail_after(BOUND):
        for runtime in (RayRuntime(cpus=0, resources={"other": 1}), RayRuntime(cpus=0, node=other)):
            async with open_pool(runtime, slots=1) as pool:
                pid = await pool.run_sync(ray_jobs.pid)
                there.add(pid in cluster.others[0].processes())
        with pytest.raises(BootFailed, match="no node 'elsewhere'"):
            async with open_pool(
                RayRuntime(node="elsewhere"), config=PoolConfig(slots=1, budget=SpawnBudget(1, 60))
            ):
                pytest.fail("a worker was placed")
    assert there == {True}


async def test_the_environment_is_the_workers(cluster: Cluster) -> None:
    """Variables are set before the target is imported."""
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime(cpus=0, env={"FOLK_ON_RAY": "yes"}), slots=1) as pool:
            assert await pool.run_sync(ray_jobs.variable, "FOLK_ON_RAY") == "yes"

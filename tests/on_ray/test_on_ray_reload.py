"""Reload on Ray: the code is shipped, each generation as one package, and a broken one changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from ray_cluster import Cluster

from trio_folk import PoolConfig, RayRuntime, ReloadFailed, SpawnBudget, WorkerPool, open_pool

BOUND = 90.0
SLOTS = 4
CONFIG = PoolConfig(slots=SLOTS, min_uptime=0, budget=SpawnBudget(40, 60), boot_timeout=BOUND)
CODE = """
from trio_folk.worker import Worker
worker = Worker()
@worker.method
def version():
    return {version}
"""


def write(folder: Path, version: object) -> Path:
    """The module that is shipped, in this version."""
    module = folder / "ray_shipped_jobs.py"
    module.write_text(CODE.format(version=version))
    return module


async def versions(pool: WorkerPool) -> set[int]:
    """What all workers answer."""
    told: set[int] = set()

    async def ask() -> None:
        told.add(await pool.execute("version"))

    async with trio.open_nursery() as nursery:
        for _ in range(SLOTS * 4):
            nursery.start_soon(ask)
    return told


def runtime(module: Path) -> RayRuntime:
    """Workers on both nodes, which have the module from nowhere else."""
    return RayRuntime("ray_shipped_jobs:worker", code=[module], cpus=0.1, placement="spread")


async def test_new_code_takes_over_on_all_nodes(cluster: Cluster, tmp_path: Path) -> None:
    """It was edited here, and runs there."""
    with trio.fail_after(BOUND):
        async with open_pool(runtime(write(tmp_path, 1)), config=CONFIG) as pool:
            await pool.wait_ready(SLOTS)
            assert all(node.actors() for node in (cluster.head, *cluster.others))
            assert await versions(pool) == {1}
            write(tmp_path, 2)
            report = await pool.reload()
            assert len(report.slots) == SLOTS
            assert await versions(pool) == {2}


async def test_broken_code_is_rolled_back_on_all_nodes(cluster: Cluster, tmp_path: Path) -> None:
    """ReloadFailed with the traceback; the old generation serves, also in workers that are born afterwards."""
    with trio.fail_after(BOUND):
        async with open_pool(runtime(write(tmp_path, 1)), config=CONFIG) as pool:
            await pool.wait_ready(SLOTS)
            (tmp_path / "ray_shipped_jobs.py").write_text("1 / 0\n")
            with pytest.raises(ReloadFailed) as caught:
                await pool.reload()
            assert "ZeroDivisionError" in str(caught.value)
            assert await versions(pool) == {1}
            async with pool.lease() as lease:
                with pytest.raises(Exception, match="Ray says"):
                    await lease.run_sync(_exit)
            await pool.wait_ready(SLOTS)
            assert await versions(pool) == {1}


def _exit() -> None:
    import os

    os._exit(3)

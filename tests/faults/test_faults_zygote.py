"""Zygotes that die under a pool at work: their workers work on, and whatever they owed comes from others."""

from __future__ import annotations

import itertools
import os
import random
import signal
from pathlib import Path

import chaos_jobs
import pytest
import trio

from trio_folk import ForkRuntime, PoolConfig, SpawnBudget, WorkerPool, open_pool
from trio_folk.runtimes._zygote import Zygote

KILLS = 100
CALLERS = 8
IMPORTING, FORKING = 0.03, 0.01  # seconds in which a zygote is killed, from its launch or once it can fork
CONFIG = PoolConfig(slots=4, max_jobs=10, min_uptime=0, budget=SpawnBudget(5 * KILLS, 300))


class Load:
    """Callers who never pause; a call that fails fails the test."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.numbers = itertools.count()
        self.asked = 0
        self.answered = 0
        self.enough = False

    async def caller(self) -> None:
        while not self.enough:
            seconds = 0.003 + next(self.numbers) / 1e7  # nobody else's, and so the answer
            self.asked += 1
            assert await self.pool.run_sync(chaos_jobs.slow, seconds) == seconds
            self.answered += 1


def living(runtime: ForkRuntime) -> list[Zygote]:
    return [each for each in runtime._zygotes.values() if each.pid is not None and each.retired is None]


async def kill_zygotes(runtime: ForkRuntime) -> int:
    """So many, each at a moment of its own: one in four while it imports. How many of them had forked."""
    able = 0
    for number in range(KILLS):
        while not (zygotes := living(runtime)):
            await trio.sleep(0.001)
        [zygote] = zygotes
        if number % 4:
            while zygote.features == frozenset():
                await trio.sleep(0.001)
        await trio.sleep(random.uniform(0, FORKING if number % 4 else IMPORTING))
        able += bool(zygote.features)
        os.kill(zygote.pid or 0, signal.SIGKILL)
        while zygote in living(runtime):
            await trio.sleep(0.001)
    return able


@pytest.mark.timeout(300)
async def test_killing_the_zygote_100_times_under_load_loses_no_call() -> None:
    """Workers come and go all the while: each call has its own answer, and no worker dies with its zygote."""
    runtime = ForkRuntime(env={"PYTHONPATH": str(Path(__file__).parent)})
    with trio.fail_after(240):
        async with open_pool(runtime, config=CONFIG) as pool:
            load = Load(pool)
            async with trio.open_nursery() as nursery:
                for _ in range(CALLERS):
                    nursery.start_soon(load.caller)
                able = await kill_zygotes(runtime)
                load.enough = True
            await pool.wait_ready(4)
            statistics = pool.statistics()
    assert load.asked == load.answered == statistics.succeeded
    assert (statistics.deaths, statistics.died, statistics.failed) == (0, 0, 0)
    assert able >= KILLS * 3 // 4
    assert statistics.spawned - statistics.boot_failures > KILLS // 10
    assert statistics.boot_failures <= KILLS * CONFIG.slots

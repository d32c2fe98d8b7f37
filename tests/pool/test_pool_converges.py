"""Whatever happens to a pool, in whatever order: one outcome a call, and then it is as it was configured."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio

from trio_folk import (
    CrashLoop,
    PoolConfig,
    PoolStatistics,
    ReloadFailed,
    SpawnBudget,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Birth
from trio_folk.testing import FaultyRuntime, Script
from trio_folk.testing._script import Fault

ROUNDS = 60
BETWEEN = 5.0
"""Seconds in which a spare that was recycled must have a successor: it is made after a pause."""


def shaky(chance: random.Random) -> Script:
    """A worker that may fail in any of its ways, and is slow to boot."""
    boot = chance.choices(["ready", "dies", "refuses", "launch_fails"], [20, 1, 1, 1])[0]
    at_call = {chance.randint(1, 20): Fault.dies()} if chance.random() < 0.3 else {}
    return Script(boot=boot, boot_delay=chance.choice([0, 0.1, 1]), at_call=at_call)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", ["plain", "spares", "elastic", "all"])
async def test_a_pool_converges(autojump_clock: trio.testing.MockClock, shape: str, seed: int) -> None:
    """Deaths, cancels, reloads, recycling, growth and failures at random; no call hangs and no worker is lost."""
    chance = random.Random(f"{shape} {seed}")
    calm = False

    def script(birth: Birth) -> Script:
        return Script() if calm or birth.id.incarnation == 1 else shaky(chance)

    spares = chance.randint(1, 2) if shape in ("spares", "all") else 0
    elastic = shape in ("elastic", "all")
    config = PoolConfig(
        slots=4,
        min_slots=chance.randint(1, 3) if elastic else None,
        idle_timeout=5,
        spares=spares,
        max_jobs=chance.randint(3, 30),
        ttl=chance.choice([20, float("inf")]),
        min_uptime=0.5,
        max_surge=chance.randint(1, 2),
        max_unavailable=chance.randint(0, 2),
        budget=SpawnBudget(12, 20),
        on_crash_loop="degrade",
    )
    runtime = FaultyRuntime(script)
    ended = asked = 0

    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:

        async def call() -> None:
            nonlocal ended
            with suppress(WorkerDied, CrashLoop), trio.move_on_after(chance.choice([0.05, 3, 600])):
                await pool.execute("sleep", chance.choice([0.01, 1, 10]), idempotent=chance.random() < 0.5)
            ended += 1

        async def reload() -> None:
            with suppress(ReloadFailed), trio.move_on_after(chance.choice([0.5, 5, 600])):
                await pool.reload()

        def kill() -> None:
            victims = [
                each.incarnation for each in (*pool._core.slots, *pool._core.spares) if each.incarnation
            ]
            if victims:
                chance.choice(victims).handle.terminate("killed by the test")

        for _ in range(ROUNDS):
            for _ in range(chance.randint(0, 6)):
                asked += 1
                nursery.start_soon(call)
            if chance.random() < 0.2:
                nursery.start_soon(reload)
            if chance.random() < 0.2:
                kill()
            await trio.sleep(chance.choice([0, 0.1, 1]))
        calm = True
        await trio.sleep(2000)
        assert ended == asked
        with trio.fail_after(BETWEEN):
            while _shape(pool) != (config.fewest, spares, 0, 0) or runtime.alive != config.fewest + spares:
                await trio.sleep(0.01)  # a worker whose ttl is over may be between two lives just now
        await pool.reload()
        await pool.wait_ready(4)
        await trio.sleep(1)
        everyone = [slot.incarnation for slot in pool._core.slots]
        assert {each.handle.generation for each in everyone if each} == {pool._core.generations.current}
        _check_counts(pool.statistics())
    assert runtime.alive == 0
    assert pool._core.coordinator.statistics().in_flight == 0


def _shape(pool: WorkerPool) -> tuple[int, int, int, int]:
    seen = pool.statistics()
    return seen.ready, seen.spares, seen.running, seen.queued


def _check_counts(seen: PoolStatistics) -> None:
    assert seen.spawned >= seen.boot_failures + seen.deaths
    assert not seen.budget.in_flight

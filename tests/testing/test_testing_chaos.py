"""Pools over workers that misbehave at random, by seed: each call has one outcome, and runs at most once."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from trio_folk import FolkError, PoolConfig, SpawnBudget, SpawnError, open_pool
from trio_folk.abc import Rung, WorkerExit
from trio_folk.testing import Fault, FaultyRuntime, Script, assert_nothing_left

CALLS = 100
BOOTS = ("ready",) * 20 + ("never", "dies", "refuses", "garbage", "closes_control", "launch_fails")
IDLE_FAULTS = (
    Fault.dies(),
    Fault.dies(WorkerExit(signal="SIGKILL")),
    Fault.garbage(),
    Fault.oversize(),
    Fault.closes_task(),
    Fault.closes_control(),
)
FAULTS = (
    *IDLE_FAULTS,
    Fault.dies(unread=True),
    Fault.hangs(),
    Fault.fails(),
    Fault.answers_late(4),
    Fault.answers_late(20),
    Fault.answers_twice(),
    Fault.answers_twice(1),
    Fault.wrong_msgid(),
    Fault.truncates(),
)


def some_script(chance: random.Random) -> Script:
    return Script(
        boot=chance.choice(BOOTS),  # type: ignore[arg-type]
        boot_delay=chance.choice([0, 0, 1, 10]),
        at_call={chance.randint(1, 6): chance.choice(FAULTS) for _ in range(chance.randint(0, 3))},
        after_ready={chance.random() * 10: chance.choice(IDLE_FAULTS)} if chance.random() < 0.3 else {},
        ignores={rung for rung in Rung if chance.random() < 0.2},
        concurrency=chance.choice([1, 1, 1, 2, 4]),
    )


def some_config(chance: random.Random) -> PoolConfig:
    return PoolConfig(
        slots=chance.randint(1, 4),
        min_uptime=0,
        boot_timeout=15,
        exec_timeout=chance.choice([5, 15]),
        terminate_grace=chance.choice([0, 1, 5]),
        max_jobs=chance.choice([3, 20, math.inf]),
        ttl=chance.choice([7, math.inf]),
        drain_timeout=1e6,
        budget=SpawnBudget(10_000, 30),  # boots fail at random here; that is no crash loop
    )


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_workers_do_each_call_has_one_outcome(autojump_clock: MockClock, seed: int) -> None:
    """A value is the call's own; nothing ran twice, hangs, or is left."""
    chance = random.Random(seed)
    runtime = FaultyRuntime(lambda _: some_script(chance))
    outcomes: dict[int, object] = {}

    async def call(number: int) -> None:
        await trio.sleep(chance.random() * 30)
        patience = chance.random() * 5 if chance.random() < 0.1 else math.inf
        outcomes[number] = trio.Cancelled
        with trio.move_on_after(patience):
            try:
                outcomes[number] = await pool.execute("echo", number)
            except FolkError as error:
                outcomes[number] = error

    async with assert_nothing_left():
        try:
            with trio.fail_after(1e7):
                async with open_pool(runtime, config=some_config(chance)) as pool:
                    async with trio.open_nursery() as nursery:
                        for number in range(CALLS):
                            nursery.start_soon(call, number)
        except SpawnError:
            assert outcomes == {}  # the first worker of every slot failed, so the block never began
    assert all(value == number for number, value in outcomes.items() if isinstance(value, int))
    ran = Counter(each.params for each in runtime.calls)
    assert set(ran.values()) <= {1}
    assert runtime.alive == 0

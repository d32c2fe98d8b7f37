"""Health: three answers, each within its time."""

from __future__ import annotations

import math

import pytest
import trio

from trio_folk import PoolConfig, SpawnBudget, TaskRuntime, WorkerDied, open_pool
from trio_folk.telemetry import CheckResult, Health, HealthStatus
from trio_folk.testing import Fault, FaultyRuntime, Script
from trio_folk.worker import Worker

PASS, WARN, FAIL = HealthStatus


async def statuses(health: Health, *, live: bool = False) -> list[HealthStatus]:
    report = await health.check(live=live)
    return [report.status, *(each.status for each in report.checks.values())]


async def test_a_pool_is_well_while_every_slot_serves() -> None:
    """Of no use when it drains; and that is no reason for a restart, until nothing of it is left."""
    async with open_pool(TaskRuntime(Worker()), slots=2) as pool:
        await pool.wait_ready(2)
        health = Health(pool)
        assert await statuses(health) == [PASS, PASS, PASS]
        await pool.drain()
        assert await statuses(health) == [FAIL, FAIL, PASS]
        assert (await health.check()).checks["pool pool"].message == "it is draining"
        assert await statuses(health, live=True) == [PASS, PASS]
    assert await statuses(health, live=True) == [FAIL, FAIL]


async def test_a_slot_without_a_worker_is_a_warning(autojump_clock: trio.testing.MockClock) -> None:
    """The others serve; and the report says what that slot's last attempt failed of."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies" if birth.id.slot else "ready"))
    config = PoolConfig(slots=2, budget=SpawnBudget(100, 3600))
    async with open_pool(runtime, config=config) as pool:
        await trio.sleep(1)
        report = await Health(pool).check()
        assert report.status is WARN
        assert report.checks["pool pool"].message.startswith("1 of 2 slots have no worker: ")


async def test_a_pool_that_cannot_serve_fails(autojump_clock: trio.testing.MockClock) -> None:
    """All its workers died, and the next ones do not come up."""
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()})], then=Script(boot="dies"))
    config = PoolConfig(slots=1, min_uptime=0, on_crash_loop="degrade")
    async with open_pool(runtime, config=config) as pool:
        with pytest.raises(WorkerDied):
            await pool.execute("echo")
        await trio.sleep(3)
        report = await Health(pool).check()
        assert report.status is FAIL
        assert "no slot has a worker that serves" in report.checks["pool pool"].message


async def test_a_slow_check_fails_alone_and_in_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """All are asked at once: together they take as long as the slowest may."""
    health = Health(timeout=2)

    async def slow() -> None:
        await trio.sleep(60)

    async def broken() -> None:
        raise ConnectionError("nobody there")

    async def less() -> CheckResult:
        return CheckResult(WARN, "disk 91 % full")

    async def odd() -> str:
        return "fine"

    async def fine() -> HealthStatus:
        return PASS

    health.add("slow", slow)
    health.add("slower", slow, timeout=3)
    health.add("broken", broken)
    health.add("less", less)
    health.add("odd", odd)  # type: ignore[arg-type]
    health.add("fine", fine, live=True)
    began = trio.current_time()
    report = await health.check()
    assert trio.current_time() - began == 3
    assert {name: str(each.status) for name, each in report.checks.items()} == {
        "slow": "fail",
        "slower": "fail",
        "broken": "fail",
        "less": "warn",
        "odd": "fail",
        "fine": "pass",
    }
    assert report.checks["slow"].message == "took longer than 2 s"
    assert report.checks["slow"].seconds == 2
    assert report.checks["broken"].message == "ConnectionError: nobody there"
    assert "not 'fine'" in report.checks["odd"].message
    assert list((await health.check(live=True)).checks) == ["fine"]


async def test_without_checks_all_is_well() -> None:
    """And names are taken once."""
    health = Health()

    async def fine() -> None: ...

    assert (await health.check()).status is PASS
    health.add("fine", fine)
    with pytest.raises(ValueError, match="already"):
        health.add("fine", fine)
    health.remove("fine")
    with pytest.raises(KeyError):
        health.remove("fine")
    assert repr(health) == "<Health: no checks>"
    for timeout in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="timeout"):
            Health(timeout=timeout)


async def test_two_pools_of_one_name_are_refused() -> None:
    """One of them would hide the other."""
    runtime = TaskRuntime(Worker())
    async with open_pool(runtime, slots=1) as first, open_pool(runtime, slots=1) as second:
        with pytest.raises(ValueError, match="pool pool"):
            Health(first, second)

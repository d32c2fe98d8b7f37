"""Whole pools of real processes under fire: every call has one outcome, and nothing is left."""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import chaos_jobs
import pytest
import trio

from trio_folk import PipeRuntime, PoolConfig, WorkerDied, open_pool

HERE = Path(__file__).parent


def python() -> PipeRuntime:
    return PipeRuntime.python(env={"PYTHONPATH": str(HERE)})


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.timeout(300)
async def test_every_call_has_one_outcome_while_workers_are_killed() -> None:
    """2,000 calls on 4 slots, a random ready worker killed every 20 ms: at most one WorkerDied a kill.

    None is killed before a call has succeeded since the last kill: on a busy machine no worker would live that long.
    """
    outcomes: collections.Counter[str] = collections.Counter()
    kills = succeeded = 0
    config = PoolConfig(slots=4, min_uptime=0, terminate_grace=1)
    with trio.fail_after(240):
        async with open_pool(python(), config=config) as pool:
            async with trio.open_nursery() as killing:

                async def kill() -> None:
                    nonlocal kills, succeeded
                    while True:
                        await trio.sleep(0.02)
                        ready = [slot for slot in pool.statistics().slots if slot.pid is not None]
                        if ready and outcomes["value"] > succeeded:
                            succeeded = outcomes["value"]
                            os.kill(random.choice(ready).pid or 0, signal.SIGKILL)
                            kills += 1

                async def call(number: int) -> None:
                    try:
                        assert await pool.run_sync(chaos_jobs.tell, number) == number
                        outcomes["value"] += 1
                    except WorkerDied as error:
                        outcomes[f"died of {error.signal}"] += 1

                killing.start_soon(kill)
                async with trio.open_nursery() as calls:
                    for number in range(2000):
                        calls.start_soon(call, number)
                killing.cancel_scope.cancel()
            statistics = pool.statistics()
    assert outcomes.total() == 2000
    assert outcomes["died of SIGKILL"] == 2000 - outcomes["value"] <= kills
    assert kills > 10
    assert statistics.succeeded == outcomes["value"]
    assert statistics.budget.failed == 0  # min_uptime=0: deaths of ready workers spend nothing


async def test_one_slow_call_does_not_hold_back_500_fast_ones() -> None:
    """One of 3 s and 500 of a millisecond on 4 slots: the fast ones are done while it still runs."""
    with trio.fail_after(60):
        async with open_pool(python(), slots=4) as pool, trio.open_nursery() as nursery:
            await pool.wait_ready(4)
            nursery.start_soon(pool.run_sync, chaos_jobs.slow, 3.0)
            await trio.sleep(0.1)
            async with trio.open_nursery() as fast:
                for number in range(500):
                    fast.start_soon(pool.run_sync, chaos_jobs.tell, number)
            statistics = pool.statistics()
            assert statistics.succeeded == 500
            assert statistics.running == 1


@pytest.mark.parametrize("slots", [1, 3])
def test_busy_workers_and_their_children_die_with_a_killed_parent(tmp_path: Path, slots: int) -> None:
    """SIGKILL of the parent while its workers are in a pure-Python loop: all gone in time (1 s; here ten)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    command = [sys.executable, str(HERE / "orphan_parent.py"), str(tmp_path), str(slots)]
    with subprocess.Popen(command, env=environment) as parent:
        pids: list[int] = []
        deadline = time.monotonic() + 60
        while len(pids) < 2 * slots:
            assert time.monotonic() < deadline, "the workers did not start"
            time.sleep(0.01)
            pids = [
                int(word)
                for file in tmp_path.iterdir()
                if file.is_file()
                for word in file.read_text().split()
            ]
        assert all(alive(pid) for pid in pids)
        parent.kill()
        parent.wait()
        killed = time.monotonic()
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < killed + 10, "workers or their children outlived the parent"
            time.sleep(0.005)
    print(f"all gone {time.monotonic() - killed:.3f} s after the parent")


async def test_ctrl_c_reaches_the_parent_alone(tmp_path: Path) -> None:
    """SIGINT to the parent's group: the workers are in groups of their own, and are ended in good order."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    command = [sys.executable, str(HERE / "orphan_parent.py"), str(tmp_path), "2"]
    with subprocess.Popen(command, env=environment, process_group=0, stderr=subprocess.PIPE) as parent:
        with trio.fail_after(60):
            while len(files := [file for file in tmp_path.iterdir() if file.is_file()]) < 2:
                await trio.sleep(0.01)
            pids = [int(word) for file in files for word in file.read_text().split()]
            os.killpg(parent.pid, signal.SIGINT)
            _, stderr = await trio.to_thread.run_sync(parent.communicate)
    assert b"KeyboardInterrupt" in stderr
    assert not any(alive(pid) for pid in pids)

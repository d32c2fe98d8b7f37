"""Large buffers under fire: whoever is killed, nothing is overwritten, and nothing is left.

``TRIO_FOLK_TRANSFERS=1000`` for the full count of transfers while workers are killed, and
``TRIO_FOLK_KILLED_PARENTS=100`` for that of killed parents.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import transfer_jobs as jobs
import trio
from test_faults_chaos import alive

from trio_folk import PipeRuntime, PoolConfig, WorkerDied, open_pool
from trio_folk.testing import assert_nothing_left

HERE = Path(__file__).parent
TRANSFERS = int(os.environ.get("TRIO_FOLK_TRANSFERS", "150"))
PARENTS = int(os.environ.get("TRIO_FOLK_KILLED_PARENTS", "4"))
SLACK = 64 << 20  # bytes of shared memory that other programs may have come to use meanwhile

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create(2)")


def shared_memory() -> int:
    """Bytes of shared memory that the whole machine uses."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Shmem:"))


def memfds() -> list[str]:
    """The descriptors of this process that are memory without a name."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return [name for name in found if "memfd" in name]


@pytest.mark.timeout(600)
async def test_transfers_survive_the_deaths_of_workers_and_leave_nothing() -> None:
    """Random SIGKILLs: each call has one outcome, each result that is held stays as it was."""
    before = shared_memory()
    config = PoolConfig(slots=2, min_uptime=0, terminate_grace=1)
    runtime = PipeRuntime.python(env={"PYTHONPATH": str(HERE)}, max_shared=32 << 20)
    done = died = 0
    held: deque[tuple[int, Any]] = deque(maxlen=8)

    async def send(pool: Any, numbers: range) -> None:
        nonlocal done, died
        for number in numbers:
            view = memoryview(jobs.pattern(number, random.randrange(300_000, 3_000_000)))
            try:
                result = await pool.run_sync(jobs.work, view, number)
            except WorkerDied:
                died += 1
                continue
            assert jobs.tells(result, number + 1)
            held.append((number + 1, result))
            assert all(jobs.tells(old, its) for its, old in held), "a result that was held was overwritten"
            done += 1

    async def kill(pool: Any) -> None:
        while True:
            enough = done + died + random.randrange(2, 12)  # by calls and not by time, whatever the load
            while done + died < enough:
                await trio.sleep(0.001)
            await trio.sleep(random.uniform(0, 0.005))
            ready = [slot.pid for slot in pool.statistics().slots if slot.pid is not None]
            if ready:
                os.kill(random.choice(ready), signal.SIGKILL)

    async with assert_nothing_left():
        with trio.fail_after(540):
            async with open_pool(runtime, config=config) as pool, trio.open_nursery() as killing:
                killing.start_soon(kill, pool)
                async with trio.open_nursery() as sending:
                    for first in range(3):
                        sending.start_soon(send, pool, range(first, TRANSFERS, 3))
                killing.cancel_scope.cancel()
        assert not memfds()
    assert done + died == TRANSFERS
    assert done > TRANSFERS // 3
    assert died > 0
    assert all(jobs.tells(old, its) for its, old in held)
    held.clear()
    assert jobs.mapped() == 0
    assert shared_memory() < before + SLACK


@pytest.mark.timeout(600)
def test_killed_parents_leave_nothing() -> None:
    """SIGKILL in the middle of transfers: the workers go, and all memory with the last of them."""
    before = shared_memory()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    for _ in range(PARENTS):
        command = [sys.executable, str(HERE / "buffers_parent.py")]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pids = [int(word) for word in parent.stdout.readline().split()]
            assert parent.stdout.readline() == "sent\n"
            time.sleep(random.uniform(0, 0.05))
            assert any(jobs.mapped(pid) for pid in pids)
            parent.kill()
        until = time.monotonic() + 10
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < until, "a worker outlived the parent"
            time.sleep(0.005)
    assert shared_memory() < before + SLACK

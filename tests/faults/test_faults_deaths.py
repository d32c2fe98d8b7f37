"""Workers that die, hang or will not go: one call's loss at most, each with its reason, and nothing left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import trio

from trio_folk import WorkerDied, WorkerPool, open_pool
from trio_folk._pool import PoolConfig
from trio_folk.runtimes import PipeRuntime

ZOO = str(Path(__file__).with_name("zoo.py"))
CONFIG = PoolConfig(slots=1, terminate_grace=0.5, min_uptime=0)
BOUND = 60


def animal(name: str = "animal") -> PipeRuntime:
    return PipeRuntime([sys.executable, ZOO, name], env={"PYTHONPATH": str(Path(__file__).parents[2])})


def pid_of(pool: WorkerPool) -> int:
    pid = pool.statistics().slots[0].pid
    assert pid is not None
    return pid


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until_gone(pid: int) -> None:
    with trio.fail_after(10):
        while alive(pid):
            await trio.sleep(0.01)


async def test_an_exit_in_a_call_tells_its_status_and_last_words() -> None:
    """The error has the status, the pid, the worker's id and its stderr."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG, name="zoo") as pool:
            pid = pid_of(pool)
            with pytest.raises(WorkerDied) as caught:
                await pool.execute("exits", 9)
            error = caught.value
            assert (error.exit_code, error.signal) == (9, None)
            assert (error.worker, error.pid) == ("zoo/0.1", pid)
            assert error.stderr == ("going, and this is why",)
            assert "exited with status 9" in str(error)
            assert "idempotent" in str(error)
            assert await pool.execute("echo", "next") == "next"


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_signal_is_told_from_an_exit(sig: signal.Signals) -> None:
    """Exit 9 and SIGKILL are not the same."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(WorkerDied) as caught:
                await pool.execute("kills_itself", int(sig))
            assert (caught.value.exit_code, caught.value.signal) == (None, sig.name)
            assert await pool.execute("echo", "next") == "next"


@pytest.mark.parametrize("noticed", [False, True])
async def test_killed_while_idle_costs_no_call(noticed: bool) -> None:
    """The next call is answered by the next worker, whether the pool has noticed the death or not."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            for number in range(5):
                pid = pid_of(pool)
                os.kill(pid, signal.SIGKILL)
                while alive(pid):  # without a checkpoint: the pool cannot notice
                    time.sleep(0.001)
                if noticed:
                    await trio.sleep(0.05)
                assert await pool.execute("echo", number) == number
                await pool.wait_ready()
            assert pool.statistics().died == 0


async def test_a_request_that_its_worker_never_read_runs_elsewhere() -> None:
    """Stopped, then given a call, then killed: the kernel tells that nothing was read."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool, trio.open_nursery() as nursery:
            answers = []

            async def call() -> None:
                answers.append(await pool.execute("echo", "elsewhere"))

            pid = pid_of(pool)
            os.kill(pid, signal.SIGSTOP)
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)
        assert answers == ["elsewhere"]


async def test_killed_while_busy_costs_the_one_call() -> None:
    """The other waits in the queue, and is answered."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool, trio.open_nursery() as nursery:
            outcomes = []

            async def call(method: str, params: object) -> None:
                try:
                    outcomes.append(await pool.execute(method, params))
                except WorkerDied as error:
                    outcomes.append(error.signal)

            nursery.start_soon(call, "sleeps", 30)
            await trio.sleep(0.5)  # until it has read the call: otherwise that would run elsewhere
            nursery.start_soon(call, "echo", "queued")
            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid_of(pool), signal.SIGKILL)
        assert outcomes == ["SIGKILL", "queued"]


async def test_an_idempotent_call_runs_again_elsewhere() -> None:
    """Its caller allowed it."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool, trio.open_nursery() as nursery:
            result = []

            async def call() -> None:
                result.append(await pool.execute("sleeps", 1, idempotent=True))

            nursery.start_soon(call)
            await trio.sleep(0.2)
            os.kill(pid_of(pool), signal.SIGKILL)
        assert result == [1]


async def test_a_poisonous_idempotent_call_is_given_up() -> None:
    """It kills each worker it meets: three in all."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(WorkerDied):
                await pool.execute("exits", 1, idempotent=True)
            assert pool.statistics().died == 3


async def test_a_death_hidden_by_a_grandchild_is_noticed() -> None:
    """The grandchild holds every descriptor, so no end of file comes; the pidfd tells."""
    with trio.fail_after(20):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(WorkerDied) as caught:
                await pool.execute("forks_a_holder", 3)
            assert caught.value.exit_code == 7
            assert await pool.execute("echo", "next") == "next"
    await trio.sleep(3)  # the holder left the group; it ends by itself


async def test_the_process_group_dies_with_its_worker() -> None:
    """A child of a worker that is killed, or ended with its pool, is gone as well."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            child = await pool.execute("has_a_child")
            os.kill(pid_of(pool), signal.SIGKILL)
            await until_gone(child)
            child = await pool.execute("has_a_child")
            assert alive(child)
        assert not alive(child)


async def test_a_worker_that_ignores_sigterm_is_killed() -> None:
    """After its grace; the caller does not wait for that."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            pid = await pool.execute("ignores_sigterm")
            with pytest.raises(trio.TooSlowError):
                await pool.execute("sleeps", 60, exec_timeout=0.1)
            assert await pool.execute("echo", "next") == "next"
            await until_gone(pid)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_stopped_worker_is_ended_like_any_other(busy: bool) -> None:
    """SIGSTOP: it cannot act on EOF, but it is continued with SIGTERM, or killed."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            pid = pid_of(pool)
            os.kill(pid, signal.SIGSTOP)
            if busy:
                with pytest.raises(trio.TooSlowError):
                    await pool.execute("echo", 1, exec_timeout=0.2)
                assert await pool.execute("echo", 2) == 2
        assert not alive(pid)


async def test_a_flood_of_output_stops_nobody() -> None:
    """256 MiB on stdout are drained while other calls are answered."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), slots=2, config=CONFIG) as pool, trio.open_nursery() as nursery:
            await pool.wait_ready(2)
            nursery.start_soon(pool.execute, "floods_stdout", 256)
            for number in range(20):
                assert await pool.execute("echo", number) == number
                await trio.sleep(0.01)


async def test_a_cancelled_call_ends_its_worker_and_its_group() -> None:
    """The caller goes on at once; the worker and its child are gone soon after."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            child = await pool.execute("has_a_child")
            pid = pid_of(pool)
            with trio.move_on_after(0.1):
                await pool.execute("sleeps", 60)
            await until_gone(pid)
            await until_gone(child)
            assert await pool.execute("echo", "next") == "next"
            assert pool.statistics().deaths == 0  # ours, so it counts as no failure

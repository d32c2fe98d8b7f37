"""Workers in pid namespaces of their own: what has left their group goes with them, and all else is as without."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pidns_jobs as jobs
import pytest
import trio

from trio_folk import BootFailed, ExecTimeout, PipeRuntime, PoolConfig, WorkerDied, WorkerPool, open_pool
from trio_folk._process import namespace
from trio_folk.abc import Birth, Rung, WorkerExit, WorkerHandle, WorkerId

WHY_NOT = namespace.why_not()
needs_namespaces = pytest.mark.skipif(WHY_NOT is not None, reason=f"no pid namespaces here: {WHY_NOT}")
EXAMPLES = Path(__file__).parents[2] / "examples"
BOUND = 60
MIB = 1024 * 1024


@pytest.fixture
def seconds() -> Iterator[str]:
    """How long the one that has left its group sleeps; it is ended, whatever the test has found."""
    seconds = f"3{secrets.randbelow(10**9):09}"
    yield seconds
    for pid in sleepers(seconds):
        os.kill(pid, signal.SIGKILL)


def sleepers(seconds: str) -> set[int]:
    """The pids of all that sleep for so long."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                found.add(int(entry.name))
        except OSError:
            continue  # gone since it was listed
    return found


async def wait_for_sleepers(seconds: str) -> None:
    """A child's command line is not yet there when its parent has gone on."""
    with trio.fail_after(BOUND):
        while not sleepers(seconds):
            await trio.sleep(0.005)


@asynccontextmanager
async def pool_of_one(runtime: PipeRuntime | None = None, **how: Any) -> AsyncIterator[WorkerPool]:
    config = PoolConfig(**{"slots": 1, "min_uptime": 0, "cancel_grace": 0.05, "terminate_grace": 0.5, **how})
    with trio.fail_after(BOUND):
        async with open_pool(runtime or PipeRuntime.python(isolation="pidns"), config=config) as pool:
            yield pool


@asynccontextmanager
async def worker(runtime: PipeRuntime) -> AsyncIterator[WorkerHandle]:
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(runtime.spawn, Birth(WorkerId("p", 0, 1)))
            await handle.ready()
            yield handle
            nursery.cancel_scope.cancel()


@needs_namespaces
async def test_what_left_the_group_is_gone_after_the_pool(seconds: str) -> None:
    """Closing it is enough; the worker has pids of its own."""
    async with pool_of_one() as pool:
        pid, group = await pool.run_sync(jobs.escape, seconds)
        assert (pid, group) == (2, 0)
        await wait_for_sleepers(seconds)
    assert sleepers(seconds) == set()


@needs_namespaces
async def test_what_left_the_group_is_gone_when_its_worker_has_ended(seconds: str) -> None:
    """However it ends; whoever sees that finds nobody any more."""
    runtime = PipeRuntime.python(isolation="pidns")
    for rung in Rung:
        async with worker(runtime) as handle:
            await handle.execute(runtime.prepare_python(jobs.escape, (seconds,), {}))
            await wait_for_sleepers(seconds)
            handle.terminate("enough", rung)
            await handle.ended.wait()
            assert sleepers(seconds) == set()


@needs_namespaces
async def test_what_left_the_group_is_gone_after_a_cancel(seconds: str) -> None:
    """The call computed on; the slot's next worker finds nothing of it."""
    async with pool_of_one() as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run_sync, jobs.escape_and_compute, seconds)
            await wait_for_sleepers(seconds)
            nursery.cancel_scope.cancel()
        assert await pool.run_sync(os.getpid) == 2
        assert sleepers(seconds) == set()


@needs_namespaces
async def test_what_left_the_group_is_gone_after_a_timeout(seconds: str) -> None:
    """Of a call that had started it long before."""
    async with pool_of_one() as pool:
        await pool.run_sync(jobs.escape, seconds)
        await wait_for_sleepers(seconds)
        with pytest.raises(ExecTimeout):
            await pool.run_sync(jobs.escape_and_compute, seconds, exec_timeout=0.5)
        assert await pool.run_sync(os.getpid) == 2
        assert sleepers(seconds) == set()


async def test_without_a_namespace_it_stays(seconds: str) -> None:
    """So the tests above can fail."""
    async with pool_of_one(PipeRuntime.python()) as pool:
        await pool.run_sync(jobs.escape, seconds)
        await wait_for_sleepers(seconds)
    assert len(sleepers(seconds)) == 1


@needs_namespaces
async def test_a_worker_has_terminate_grace_to_clean_up(tmp_path: Path) -> None:
    """Its handler of SIGTERM runs to its end, and its exit status is told."""
    runtime = PipeRuntime.python(isolation="pidns")
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    async with worker(runtime) as handle:
        job = runtime.prepare_python(jobs.clean_up_when_told, (str(started), str(cleaned)), {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_death, handle, job)
            while not started.exists():
                await trio.sleep(0.005)
            handle.terminate("enough", Rung.TERMINATE)
            await handle.ended.wait()
        assert cleaned.read_text() == "cleaned"
        assert handle.exit == WorkerExit(code=7)


async def expect_death(handle: WorkerHandle, job: Any) -> None:
    with pytest.raises(WorkerDied):
        await handle.execute(job)


@needs_namespaces
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
async def test_the_signal_that_ended_a_worker_is_told(name: str) -> None:
    """As of any worker, and no exit status with it."""
    async with pool_of_one() as pool:
        with pytest.raises(WorkerDied) as caught:
            await pool.run_sync(jobs.die_of, getattr(signal, name))
        assert (caught.value.signal, caught.value.exit_code) == (name, None)


@needs_namespaces
async def test_the_memory_is_the_workers_own() -> None:
    """Not that of the process which stands before it, whose pid is the handle's."""
    runtime = PipeRuntime.python(isolation="pidns")
    async with worker(runtime) as handle:
        before = handle.memory()
        assert before is not None
        assert before > MIB
        await handle.execute(runtime.prepare_python(jobs.hold, (100,), {}))
        after = handle.memory()
        assert after is not None
        assert 90 * MIB < after - before < 200 * MIB


@needs_namespaces
async def test_a_worker_that_needs_too_much_memory_is_recycled() -> None:
    """`max_memory_mb` goes by it."""
    async with pool_of_one(max_memory_mb=100, recycle_jitter=0) as pool:
        await pool.run_sync(jobs.hold, 1)
        (first,) = [slot.worker for slot in pool.statistics().slots]
        await pool.run_sync(jobs.hold, 150)
        await pool.run_sync(jobs.hold, 1)
        (second,) = [slot.worker for slot in pool.statistics().slots]
        assert first != second


@needs_namespaces
async def test_workers_in_other_languages_have_namespaces_too() -> None:
    """PHP, with the SDK's own call."""
    if shutil.which("php") is None:
        pytest.skip("needs PHP: apt-get install php-cli php-msgpack")
    runtime = PipeRuntime.php(EXAMPLES / "php_worker" / "worker.php", isolation="pidns")
    async with pool_of_one(runtime) as pool:
        assert await pool.execute("echo", [1, 2]) == [1, 2]
        (slot,) = pool.statistics().slots
        assert slot.pid is not None
        worker = namespace.worker_of(slot.pid)
        assert worker is not None
        assert Path(f"/proc/{worker}/comm").read_text().startswith("php")


async def test_where_it_is_not_allowed_the_pool_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is opened, as with any worker that cannot boot."""
    monkeypatch.setattr(namespace, "_allowed", False)
    monkeypatch.setattr(namespace, "_try", lambda: "unshare: Operation not permitted")
    with pytest.raises(BootFailed) as caught:
        async with pool_of_one():
            pytest.fail("it was opened")
    assert "no pid namespace for the worker: unshare: Operation not permitted" in str(caught.value)
    assert "user.max_user_namespaces" in str(caught.value)
    assert "isolation='group'" in str(caught.value)


def test_any_other_isolation_is_refused() -> None:
    """At once, with both words."""
    with pytest.raises(ValueError, match="'group' or 'pidns', not 'pid'"):
        PipeRuntime.python(isolation="pid")  # type: ignore[arg-type]

"""The task runtime: what only it does."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_folk import BootFailed, TaskRuntime, open_pool
from trio_folk.abc import Birth, Ladder, Rung, WorkerExit, WorkerId
from trio_folk.testing import assert_nothing_left
from trio_folk.worker import Worker


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module_anywhere:worker", "No module named 'no_such_module_anywhere'"),
        ("trio_folk.testing.contract_worker:wroker", "did you mean 'worker'"),
        ("trio_folk.testing.contract_worker:add", "not a trio_folk.worker.Worker"),
        ("contract_worker", "module:object"),
    ],
)
async def test_a_target_that_is_none_fails_the_boot_at_once(
    autojump_clock: MockClock, target: str, says: str
) -> None:
    """In the same words as a process would."""
    async with assert_nothing_left():
        with pytest.raises(BootFailed, match=says) as caught:
            async with open_pool(TaskRuntime(target), slots=1):
                pytest.fail("the pool opened")
    assert caught.value.worker == "pool/0.1"


async def test_time_is_trios(autojump_clock: MockClock) -> None:
    """A day of a worker's sleep passes in a moment."""
    async with open_pool(TaskRuntime("trio_folk.testing.contract_worker:async_worker"), slots=1) as pool:
        assert await pool.execute("sleep", [86400.0]) == 86400.0
    assert trio.current_time() >= 86400


async def test_a_worker_that_does_not_stop_is_cancelled(autojump_clock: MockClock) -> None:
    """Even one whose method swallows cancellation is left behind by nobody: it ends at its own pace."""
    worker = Worker()

    @worker.method
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    runtime = TaskRuntime(worker)
    async with assert_nothing_left(), trio.open_nursery() as nursery:
        birth = Birth(WorkerId("p", 0, 1), ladder=Ladder(1, 1, 1))
        handle = await nursery.start(runtime.spawn, birth)
        await handle.ready()
        with trio.move_on_after(1):
            await handle.execute(runtime.prepare("stubborn", None))
        await handle.ended.wait()
        assert 100 <= trio.current_time() < 110


async def test_its_signals_are_named_as_a_processes(autojump_clock: MockClock) -> None:
    """So that what a test learns of an end holds for processes too."""
    runtime = TaskRuntime()
    for rung, how in [
        (Rung.STOP, WorkerExit(code=0)),
        (Rung.TERMINATE, WorkerExit(signal="SIGTERM")),
        (Rung.KILL, WorkerExit(signal="SIGKILL")),
    ]:
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(runtime.spawn, Birth(WorkerId("p", 0, 1)))
            await handle.ready()
            handle.terminate("enough", rung)
            await handle.ended.wait()
            assert handle.exit == how


def test_its_repr_names_what_it_serves() -> None:
    """For logs and failed assertions."""
    assert repr(TaskRuntime("a:b")) == "<TaskRuntime 'a:b'>"

"""Opening and closing: what leaves the block, when, and that nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pool_worker
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_folk
from trio_folk import (
    BootFailed,
    FolkError,
    ForkRuntime,
    PipeRuntime,
    PoolClosed,
    PoolConfig,
    TaskRuntime,
    WorkerDied,
    WorkerPool,
    open_pool,
    run_pool,
)
from trio_folk.abc import Birth, Rung, Runtime
from trio_folk.testing import assert_nothing_left


def kill(pool: WorkerPool) -> None:
    """End the first slot's worker, so that the next one is spawned."""
    incarnation = pool._core.slots[0].incarnation
    assert incarnation is not None
    incarnation.handle.terminate("killed by the test")


def runtime() -> TaskRuntime:
    return TaskRuntime(pool_worker.make()[0])


class Broken(TaskRuntime):
    """A runtime with a defect: after the first worker it raises what no runtime may."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(pool_worker.make()[0])
        self.error = error
        self.spawned = 0

    async def spawn(self, birth: Birth, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        self.spawned += 1
        if self.spawned > 1:
            raise self.error
        await super().spawn(birth, task_status=task_status)


class Refusing(TaskRuntime):
    """Every launch fails."""

    async def spawn(self, birth: Birth, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep(1)
        raise BootFailed(f"no room for slot {birth.id.slot}", worker=str(birth.id))


async def test_a_normal_exit_lets_running_and_waiting_calls_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The block ends while calls of others run and wait: they get their answers."""
    answers = []
    async with trio.open_nursery() as nursery:
        async with open_pool(runtime(), slots=1) as pool:

            async def call(seconds: float) -> None:
                answers.append(await pool.execute("sleep", seconds))

            nursery.start_soon(call, 2)
            nursery.start_soon(call, 3)
            await wait_all_tasks_blocked()
        assert sorted(answers) == [2, 3]


async def test_a_drain_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """After drain_timeout the running call ends as WorkerDied, the waiting one as PoolClosed."""
    errors = []
    config = PoolConfig(slots=1, drain_timeout=5)
    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        async with open_pool(runtime(), config=config) as pool:

            async def call(seconds: float) -> None:
                with pytest.raises(FolkError) as caught:
                    await pool.execute("sleep", seconds)
                errors.append(type(caught.value))

            nursery.start_soon(call, 60)
            await wait_all_tasks_blocked()
            nursery.start_soon(call, 61)
            await wait_all_tasks_blocked()
        assert trio.current_time() - start == pytest.approx(5)
    assert set(errors) == {WorkerDied, PoolClosed}


async def test_a_closed_pool_refuses_calls_by_name(autojump_clock: trio.testing.MockClock) -> None:
    """After drain() and after the block."""
    async with open_pool(runtime(), slots=1, name="thumbs") as pool:
        assert await pool.drain() is True
        for call in (pool.execute("echo"), pool.run_sync(int), pool.lease().__aenter__()):
            with pytest.raises(PoolClosed, match="'thumbs' is closed"):
                await call
    with pytest.raises(PoolClosed):
        await pool.execute("echo")
    with pytest.raises(PoolClosed):
        await pool.wait_ready()
    assert "closed" in repr(pool)


async def test_the_blocks_exception_leaves_bare(autojump_clock: trio.testing.MockClock) -> None:
    """No group around it, and the same object; busy workers are ended at once."""
    error = ValueError("mine")
    start = trio.current_time()
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_pool(runtime(), slots=2) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(pool.execute, "sleep", 60)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
        raise error
    assert caught.value is error
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_pool(runtime(), slots=2):
            raise error
    assert caught.value is error
    assert trio.current_time() - start < 30


async def test_a_group_raised_by_the_block_stays_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    """It is the user's own."""
    group = ExceptionGroup("mine", [ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_pool(runtime(), slots=1):
            raise group
    assert caught.value is group


async def test_cancelling_the_block_ends_everything_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Cancelled leaves bare, and no drain is waited for."""
    start = trio.current_time()
    with trio.move_on_after(3) as scope:
        try:
            async with open_pool(runtime(), slots=2) as pool:
                await pool.execute("sleep", 60)
        except trio.Cancelled:
            left = "bare"
            raise
    assert scope.cancelled_caught
    assert left == "bare"
    assert trio.current_time() - start == pytest.approx(3)


async def test_cancelling_the_drain_cuts_it_short(autojump_clock: trio.testing.MockClock) -> None:
    """A scope around the pool bounds its exit, too."""
    with trio.move_on_after(3) as scope:
        async with trio.open_nursery() as nursery, open_pool(runtime(), slots=1) as pool:
            nursery.start_soon(pool.execute, "sleep", 20)
            await wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert trio.current_time() < 4


async def test_every_first_boot_failing_is_the_first_slots_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Bare, with the worker's id."""
    with pytest.raises(BootFailed, match="no room for slot 0") as caught:
        async with open_pool(Refusing(), slots=3):
            pytest.fail("opened")
    assert caught.value.worker == "pool/0.1"


async def test_a_defect_of_supervision_cancels_the_block_and_leaves_as_one_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """FolkError from what caused it."""
    with pytest.raises(
        FolkError, match=r"supervision of the pool 'pool' failed: ZeroDivisionError\('oh'\)"
    ) as caught:
        async with open_pool(Broken(ZeroDivisionError("oh")), slots=1) as pool:
            kill(pool)
            await trio.sleep_forever()
    assert caught.value.__cause__ is not None


async def test_a_defect_and_the_blocks_own_error_leave_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As a group of the two."""
    with pytest.raises(ExceptionGroup) as caught:
        async with open_pool(Broken(ZeroDivisionError("oh")), slots=1) as pool:
            kill(pool)
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                raise KeyError("mine") from None
    assert {type(each) for each in caught.value.exceptions} == {KeyError, FolkError}


async def test_keyboard_interrupt_in_supervision_stays_what_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Ctrl-C is nobody's defect."""
    with pytest.raises(KeyboardInterrupt):
        async with open_pool(Broken(KeyboardInterrupt()), slots=1) as pool:
            kill(pool)
            await trio.sleep_forever()


async def test_a_pool_as_a_service(autojump_clock: trio.testing.MockClock) -> None:
    """nursery.start gives it when its first worker is ready; cancelling ends it."""
    async with trio.open_nursery() as nursery:
        pool = await nursery.start(run_pool, runtime())
        assert await pool.execute("echo", 1) == 1
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        with pytest.raises(BootFailed):
            await nursery.start(run_pool, Refusing())


async def test_slots_overrides_the_config_and_a_runtime_is_asked_for() -> None:
    """And what is not a runtime is refused with an example."""
    async with open_pool(runtime(), slots=3, config=PoolConfig(slots=1)) as pool:
        assert len(pool.statistics().slots) == 3
    with pytest.raises(TypeError, match="takes a runtime"):
        async with open_pool("myapp.jobs:worker"):  # type: ignore[arg-type]
            pytest.fail("opened")
    with pytest.raises(ValueError, match="slots is at least 1"):
        async with open_pool(runtime(), slots=0):
            pytest.fail("opened")


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_cancelled_at_any_moment_of_its_life_a_pool_leaves_nothing(steps: int) -> None:
    """Cancelled after so many checkpoints of the program, at boot, in a call, while it closes."""
    async with assert_nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_use_a_pool)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def _use_a_pool() -> None:
    async with open_pool(runtime(), slots=2) as pool:
        await pool.execute("echo", 1)
        with trio.move_on_after(0.001):
            await pool.execute("sleep", 60)
        async with pool.map(abs, range(5)) as results:
            assert [each async for each in results] == list(range(5))


def test_the_ladder_is_data() -> None:
    """Its rungs are ordered."""
    assert sorted(Rung) == [Rung.STOP, Rung.TERMINATE, Rung.KILL]
    assert trio_folk.__version__


class SlowToStart(TaskRuntime):
    """What it needs takes an hour to be there."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep(3600)
        task_status.started()


async def test_cancelled_before_the_runtime_runs_a_pool_ends_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whether it was cancelled before it began or a second later."""
    for seconds in (0, 1):
        began = trio.current_time()
        with trio.move_on_after(seconds):
            async with open_pool(SlowToStart(), slots=1):
                pytest.fail("opened")
        assert trio.current_time() == began + seconds


@pytest.mark.parametrize("make", [PipeRuntime.python, ForkRuntime])
async def test_cancelled_before_it_begins_a_pool_of_processes_ends_at_once(
    make: Callable[[], Runtime],
) -> None:
    """Their runtimes start without a checkpoint, so the cancellation comes when they have."""
    with trio.fail_after(60), trio.CancelScope() as scope:
        scope.cancel()
        async with open_pool(make(), slots=1):
            pytest.fail("opened")
    assert scope.cancelled_caught

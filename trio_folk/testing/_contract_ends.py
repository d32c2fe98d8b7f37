"""The contract, part three: how a worker is born, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import pytest
import trio
import trio.testing

from .._errors import BootFailed, WorkerDied
from ..abc import NotStarted, Rung, Runtime, WorkerExit, WorkerHandle
from ._contract_base import BOUND, LONG, SHORT, ContractBase, needs
from ._leaks import assert_nothing_left

__all__ = ["EndContract"]

_MOST_STEPS = 1000  # a birth takes a few dozen


class EndContract(ContractBase):
    """Births, deaths, and the ladder."""

    async def test_a_spawn_starts_when_launched_and_returns_when_gone(self) -> None:
        """The handle carries what the birth said; the task is the worker's whole life."""
        runtime = self.make_runtime()
        returned = trio.Event()

        async def live(task_status: trio.TaskStatus[WorkerHandle]) -> None:
            await runtime.spawn(self.birth(), task_status=task_status)
            returned.set()

        async with assert_nothing_left():
            with trio.fail_after(BOUND):
                async with self.running(runtime) as nursery:
                    handle: WorkerHandle = await nursery.start(live)
                    assert (handle.id, handle.generation) == (self.birth().id, self.birth().generation)
                    assert (handle.pid is not None) == runtime.traits.processes
                    await handle.ready()
                    assert handle.concurrency >= 1
                    assert not handle.condemned.is_set()
                    assert not returned.is_set()
                    handle.terminate("the test is over")
                    await handle.ended.wait()
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    assert returned.is_set()

    async def test_ready_returns_for_each_who_asks(self) -> None:
        """Before, when and after the worker has become ready."""
        runtime = self.make_runtime()
        async with self.started(runtime) as (handle,):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handle.ready)
                nursery.start_soon(handle.ready)
            await handle.ready()

    async def test_ended_before_it_was_ready_is_a_failed_boot(self) -> None:
        """Who waits for it is told why it never became ready; the error pickles."""
        runtime = self.make_runtime()
        async with self.started(runtime) as (handle,):
            handle.terminate("nobody wants it any more", Rung.TERMINATE)
            with pytest.raises(BootFailed, match="nobody wants it any more") as caught:
                await handle.ready()
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))

    @pytest.mark.parametrize("rung", list(Rung))
    async def test_an_idle_worker_ends_from_each_rung(self, rung: Rung) -> None:
        """At once condemned, soon ended, and that was the plan."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            handle.terminate("enough", rung)
            assert handle.condemned.is_set()
            await handle.ended.wait()
            assert (handle.reason, handle.planned) == ("enough", True)
            assert handle.exit is not None
            if runtime.traits.processes and rung is Rung.STOP:
                assert handle.exit == WorkerExit(code=0)

    @pytest.mark.parametrize("rung", list(Rung))
    @needs("sleep")
    async def test_running_calls_end_with_the_reason(self, rung: Rung) -> None:
        """As WorkerDied, at once; the error names the worker and pickles."""
        runtime = self.make_runtime()
        errors: list[WorkerDied] = []
        async with self.ready(runtime) as handle, trio.open_nursery() as nursery:
            nursery.start_soon(self._die_in_a_call, runtime, handle, errors)
            await trio.sleep(SHORT)
            handle.terminate("enough of this", rung)
            handle.terminate("and of the waiting", Rung.TERMINATE)
            await handle.ended.wait()
            assert (handle.reason, handle.planned) == ("enough of this", True)
        (error,) = errors
        assert "enough of this" in str(error)
        assert (error.worker, error.pid, error.generation) == (str(handle.id), handle.pid, 3)
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))

    @needs("sleep")
    async def test_the_first_reason_stays_and_the_rung_rises(self) -> None:
        """Told again, more sternly: a call that holds the worker does not hold it for long."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle, trio.open_nursery() as nursery:
            nursery.start_soon(self._die_in_a_call, runtime, handle, [])
            await trio.sleep(SHORT)
            handle.terminate("first")
            handle.terminate("second", Rung.KILL)
            handle.terminate("third")
            await handle.ended.wait()
            assert handle.reason == "first"
            if runtime.traits.processes:
                assert handle.exit == WorkerExit(signal="SIGKILL")
            handle.terminate("after the end")
            assert handle.reason == "first"

    @needs("echo")
    async def test_a_condemned_worker_takes_no_call(self) -> None:
        """NotStarted, so that the call can run elsewhere."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            handle.terminate("enough")
            with pytest.raises(NotStarted):
                await self.call(runtime, handle, "echo", 1)
            await handle.ended.wait()
            with pytest.raises(NotStarted):
                await self.call(runtime, handle, "echo", 1)

    @needs("sleep")
    async def test_a_cancelled_call_ends_or_its_worker_does(self) -> None:
        """Either the worker says that it has ended the call, or its state is unknown and its answer is never read."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with trio.move_on_after(SHORT) as scope:
                await self.call(runtime, handle, "sleep", [LONG])
            assert scope.cancelled_caught
            if not handle.condemned.is_set():
                assert "cancel" in handle.features
                assert await self.call(runtime, handle, "echo", 1) == 1
                return
            with pytest.raises(NotStarted):
                await self.call(runtime, handle, "echo", 1)
            await handle.ended.wait()
            assert handle.planned

    @needs("spin", processes=True)
    async def test_a_call_that_would_not_stop_is_killed(self) -> None:
        """A loop in the worker that gives nobody else a turn."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with trio.move_on_after(SHORT):
                await self.call(runtime, handle, "spin")
            await handle.ended.wait()
            assert handle.exit is not None
            assert handle.exit.signal in ("SIGTERM", "SIGKILL")

    async def test_cancelling_the_spawn_of_an_idle_worker_ends_it(self) -> None:
        """Whoever asked for the spawn wants it no more."""
        runtime = self.make_runtime()
        async with self.started(runtime) as (handle,):
            await handle.ready()
        assert handle.planned

    @needs("sleep")
    async def test_cancelling_the_spawn_of_a_busy_worker_ends_it(self) -> None:
        """The call that runs ends as WorkerDied."""
        runtime = self.make_runtime()
        errors: list[WorkerDied] = []
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:
                async with self.started(runtime) as (handle,):
                    await handle.ready()
                    nursery.start_soon(self._die_in_a_call, runtime, handle, errors)
                    await trio.sleep(SHORT)
        assert handle.planned
        assert len(errors) == 1

    async def test_cancelling_the_spawn_of_a_worker_that_boots_ends_it(self) -> None:
        """It was launched, and is not ready."""
        runtime = self.make_runtime()
        async with self.started(runtime) as (handle,):
            pass
        assert handle.planned

    async def test_cancelling_a_birth_at_any_step_leaves_nothing(self) -> None:
        """At the first step of any task of the birth, at the second, and so on until it is through."""
        for step in range(1, _MOST_STEPS):
            async with assert_nothing_left():
                with trio.fail_after(BOUND):
                    if not await self._cancelled_at(step):
                        break
        else:
            pytest.fail(f"a birth of more than {_MOST_STEPS} steps")
        assert step > 1

    @needs("exit_with", processes=True)
    async def test_a_death_ends_the_call_and_tells_how(self) -> None:
        """The exit status, the pid and the last words are in the error."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with pytest.raises(WorkerDied, match="exited with status 9") as caught:
                await self.call(runtime, handle, "exit_with", 9)
            error = caught.value
            assert (error.exit_code, error.signal, error.pid) == (9, None, handle.pid)
            assert error.stderr[-1:] == ("these are its last words",)
            await handle.ended.wait()
            assert (handle.exit, handle.planned) == (WorkerExit(code=9), False)

    @needs(processes=True)
    async def test_a_kill_from_outside_is_noticed_while_idle(self) -> None:
        """Nobody planned it; the worker takes no more calls."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            assert handle.pid is not None
            os.kill(handle.pid, signal.SIGKILL)
            await handle.ended.wait()
            assert (handle.exit, handle.planned) == (WorkerExit(signal="SIGKILL"), False)
            with pytest.raises(NotStarted):
                await self.call(runtime, handle, "echo", 1)

    async def test_memory_is_known_of_processes(self) -> None:
        """In bytes, while it lives; None afterwards, and where nobody can tell."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            memory = handle.memory()
            if runtime.traits.processes:
                assert memory is not None
                assert memory > 1024 * 1024
            handle.terminate("enough")
            await handle.ended.wait()
            assert handle.memory() is None

    @needs("pid", processes=True)
    async def test_the_pid_is_the_workers(self) -> None:
        """The process that was launched is the one that answers."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            assert await self.call(runtime, handle, "pid") == handle.pid

    async def _die_in_a_call(self, runtime: Runtime, handle: WorkerHandle, errors: list[Any]) -> None:
        with pytest.raises(WorkerDied) as caught:
            await self.call(runtime, handle, "sleep", [LONG])
        errors.append(caught.value)

    async def _cancelled_at(self, step: int) -> bool:
        """Whether a birth was cancelled at this step; otherwise it had fewer."""
        async with trio.open_nursery() as nursery:
            cut = _CutAt(step, nursery)
            nursery.start_soon(self._be_born, cut)
        return cut.done

    async def _be_born(self, cut: _CutAt) -> None:
        runtime = self.make_runtime()
        trio.lowlevel.add_instrument(cut)
        async with self.running(runtime) as nursery:
            try:
                handle: WorkerHandle = await nursery.start(runtime.spawn, self.birth())
                await handle.ready()
            finally:
                trio.lowlevel.remove_instrument(cut)
            handle.terminate("the birth is over", Rung.TERMINATE)


class _CutAt(trio.abc.Instrument):
    """Cancels a nursery as its tasks, or those of nurseries below it, come to a given step."""

    def __init__(self, step: int, nursery: trio.Nursery) -> None:
        self._left = step
        self._nursery = nursery
        self.done = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.done and self._is_below(task):
            self._left -= 1
            if not self._left:
                self.done = True
                self._nursery.cancel_scope.cancel()

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        nursery = task.parent_nursery
        while nursery is not None and nursery is not self._nursery:
            nursery = nursery.parent_task.parent_nursery
        return nursery is not None

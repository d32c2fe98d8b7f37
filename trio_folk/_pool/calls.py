"""One call, one outcome: find a worker, run the job on it, give the worker back.

Three clocks, never mixed: the wait for a slot, the execution, and (elsewhere) the boot. A call whose worker
provably never got it runs elsewhere; one that may have run is never run twice, unless its caller allowed it.

Knows the core, jobs and handles. Does not know how a worker is reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from .._errors import WorkerDied
from ..abc import Job, NotStarted, WorkerHandle
from .core import Core
from .errors import ExecTimeout, PoolBusy, QueueTimeout
from .incarnation import Incarnation
from .lines import Place, PlacedWaiter, Waiter
from .watched import Watched, watch

__all__ = ["RERUNS", "acquire", "check_timeouts", "note_failure", "run", "run_timed"]

RERUNS = 2
"""How often an idempotent call is run again after the deaths of its workers."""


async def run(
    core: Core,
    job: Job,
    exec_timeout: float | None,
    queue_timeout: float | None,
    idempotent: bool,
    *,
    insist: bool = False,
    alone: bool = False,
    place: Place | None = None,
    heard: Callable[[Any, WorkerHandle], object] | None = None,
    watched: Watched | None = None,
) -> Any:
    """Run a job on some worker of the pool. See `WorkerPool.execute` for what it raises.

    Args:
        insist: wait even if the queue is full; for those who bound their own number of calls.
        alone: it takes a free seat, and no other call waits behind it: it may take long.
        place: its key and its priority; None for a call with neither.
        heard: told what a worker returned, and which one it was.
        watched: what instruments see of it; made here where there are any.

    Cancellation: a waiting call is withdrawn and never runs; a running one is cancelled in its worker, or ends it.
    """
    if core.instruments.of_calls and watched is None:
        again_watched = partial(run, core, job, exec_timeout, queue_timeout, idempotent)
        return await watch(
            core, job, partial(again_watched, insist=insist, alone=alone, place=place, heard=heard)
        )
    if exec_timeout is not None or queue_timeout is not None:
        check_timeouts(exec_timeout, queue_timeout)
    left = core.config.queue_timeout if queue_timeout is None else queue_timeout
    seconds = core.config.exec_timeout if exec_timeout is None else exec_timeout
    reruns = RERUNS if idempotent else 0
    again = False
    if core.config.context:
        core.accompany(job)
    if watched is not None:
        watched.queued(job)
    core.begin()
    try:
        while True:
            if place is None or place.key is None:
                incarnation = core.dispatch.decide(at_once=left <= 0, alone=alone)
            else:
                incarnation = core.routing.decide(place.key, at_once=left <= 0, alone=alone)
            if incarnation is None:
                since = trio.current_time()
                incarnation = await _turn(core, left, first=again, insist=insist, alone=alone, place=place)
                left -= trio.current_time() - since
            if watched is not None:
                watched.started(incarnation.handle)
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
                if seconds == math.inf:
                    result = await incarnation.handle.execute(job)
                else:
                    result = await run_timed(incarnation, job, seconds)
            except NotStarted:
                core.dispatch.remove(incarnation)  # it is ending, or busy with a long call
                incarnation.return_unused()
                again = True
            except WorkerDied as error:
                note_failure(core, error)
                if not reruns:
                    raise
                reruns -= 1
                again = True
            except BaseException as error:
                note_failure(core, error)
                raise
            else:
                core.counts.succeeded += 1
                if heard is not None:
                    heard(result, incarnation.handle)
                return result
            finally:
                if alone:
                    incarnation.keep_alone(False)
                core.release(incarnation)
    finally:
        core.finish()


def check_timeouts(exec_timeout: float | None, queue_timeout: float | None) -> None:
    """Refuse what is no time, before anything is sent."""
    if exec_timeout is not None and not exec_timeout > 0:
        raise ValueError(f"exec_timeout is more than 0 seconds, or None for the pool's, not {exec_timeout!r}")
    if queue_timeout is not None and not queue_timeout >= 0:
        raise ValueError(
            f"queue_timeout is at least 0 seconds, or None for the pool's, not {queue_timeout!r}"
        )


async def run_timed(incarnation: Incarnation, job: Job, seconds: float) -> Any:
    """Run a job on this worker, against the execution clock."""
    running = incarnation.start_clock(job, seconds)
    try:
        return await incarnation.handle.execute(job)
    except WorkerDied:
        if running.overdue:
            raise _exec_timeout(incarnation, seconds) from None
        raise
    finally:
        incarnation.stop_clock(running)


def note_failure(core: Core, error: BaseException) -> None:
    """Count a call that ran and failed, by its end."""
    counts = core.counts
    if isinstance(error, WorkerDied):
        counts.died += 1
        error.hint = error.hint or "it may have run: pass idempotent=True if it may run again"
    elif isinstance(error, ExecTimeout):
        counts.exec_timeouts += 1
    elif isinstance(error, Exception):
        counts.failed += 1
    else:
        counts.cancelled += 1


async def acquire(core: Core, queue_timeout: float | None, place: Place | None = None) -> Incarnation:
    """Take a worker with a free seat, now or when there is one; whoever takes it gives it back with ``core.release``.
    It is given nothing ahead until ``keep_alone(False)``.

    Cancellation: nothing is taken.
    """
    check_timeouts(None, queue_timeout)
    await trio.lowlevel.checkpoint_if_cancelled()
    if place is None or place.key is None:
        incarnation = core.dispatch.decide(alone=True)
    else:
        incarnation = core.routing.decide(place.key, at_once=True, alone=True)
    if incarnation is None:
        left = core.config.queue_timeout if queue_timeout is None else queue_timeout
        return await _turn(core, left, alone=True, place=place)
    await trio.lowlevel.cancel_shielded_checkpoint()
    return incarnation


async def _turn(
    core: Core,
    seconds: float,
    *,
    first: bool = False,
    insist: bool = False,
    alone: bool = False,
    place: Place | None = None,
) -> Incarnation:
    """Wait for a worker with room. A call that had its turn already and lost it waits first in line."""
    if core.degraded:
        raise core.crash_loop()
    if not first and not insist:
        _refuse_if_it_may_not_wait(core, seconds, place)
    waiter = _queue(core, place, first=first, alone=alone)

    def withdraw(_: object) -> trio.lowlevel.Abort:
        core.dispatch.withdraw(waiter)
        return trio.lowlevel.Abort.SUCCEEDED

    if seconds == math.inf:
        await trio.lowlevel.wait_task_rescheduled(withdraw)
    else:
        with trio.move_on_after(max(seconds, 0)):
            await trio.lowlevel.wait_task_rescheduled(withdraw)
    if waiter.error is not None:
        raise waiter.error
    if waiter.incarnation is None:
        core.counts.queue_timeouts += 1
        raise QueueTimeout(
            f"{_where(core, place)} took the call in time: {core.ready()} of {len(core.slots)} slots have a "
            f"worker, {core.dispatch.queued + core.dispatch.held} more calls wait",
            stage="queue",
            hint="raise slots or queue_timeout, or send fewer calls at once",
        )
    return waiter.incarnation


def _queue(core: Core, place: Place | None, *, first: bool, alone: bool) -> Waiter:
    """Have this task wait where its call belongs."""
    task = trio.lowlevel.current_task()
    if place is None:
        waiter = Waiter(task, alone=alone)
        core.dispatch.queue(waiter, first=first)
        return waiter
    placed = PlacedWaiter(task, place, alone=alone)
    if place.key is None:
        core.dispatch.queue_for(placed, None, first=first)
    else:
        core.routing.queue(placed, first=first)
    return placed


def _where(core: Core, place: Place | None) -> str:
    if place is None or place.key is None:
        return f"no slot of pool {core.name!r}"
    return f"no worker in the slot of pool {core.name!r} where the key {place.key!r:.200} belongs"


def _refuse_if_it_may_not_wait(core: Core, seconds: float, place: Place | None) -> None:
    try:
        core.dispatch.refuse_if_full()
        if seconds <= 0:
            raise PoolBusy(
                f"{_where(core, place)} is idle, and the call may not wait",
                stage="queue",
                hint="try again later, or allow a queue_timeout",
            )
    except PoolBusy:
        core.counts.refused += 1
        raise


def _exec_timeout(incarnation: Incarnation, seconds: float) -> ExecTimeout:
    handle = incarnation.handle
    return ExecTimeout(
        f"the call ran longer than its exec_timeout of {seconds:g} s; its worker is ended",
        worker=str(handle.id),
        pid=handle.pid,
        generation=handle.generation,
        stderr=handle.stderr,
        stage="call",
        hint="raise exec_timeout, or see in its stderr what it waits for",
    )

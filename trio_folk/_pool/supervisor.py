"""Slot supervisors: each owns one slot, and sees to it that a worker serves in it.

Invariants
    1. Launch and readiness are under one boot scope.
    2. A new worker is launched as soon as the old one takes no more calls; it does not wait for its end.
    3. Every attempt has the coordinator's leave. A failed one, and a death younger than ``min_uptime``, spend it;
       what the pool itself ends gives it back.
    4. Being cancelled, a supervisor ends when its workers are gone, and not before.

Knows a runtime's interface. Does not know calls, bytes or pids.
Picture: docs/life-of-a-slot.md
"""

from __future__ import annotations

import math

import trio

from .._errors import BootTimeout, SpawnBudgetExhausted, SpawnError, WorkerDied
from .._spawn import SpawnPermit
from ..abc import Birth, Rung, WorkerHandle, WorkerId
from .core import Core
from .events import PoolEvent
from .incarnation import Incarnation, Slot
from .states import SlotEvent

__all__ = ["conceive", "spawn", "supervise_all"]

AUTOPSY = 1.0
"""Seconds that a slot waits to learn how its worker died young, before it tries again."""


@trio.lowlevel.enable_ki_protection
async def supervise_all(core: Core) -> None:
    """Supervise every slot until the pool closes. Never raises: what fails here is the pool's failure.

    Cancellation: shielded; it ends by ``core.supervision``.
    """
    needs = trio.CancelScope(shield=True)  # what the runtime needs is there until the last worker is gone
    try:
        async with trio.open_nursery() as home:
            try:
                with core.supervision:
                    await home.start(_run_runtime, core, needs)
                    async with trio.open_nursery() as nursery:
                        for slot in core.slots:
                            name = f"{core.name}/{slot.number} supervisor"
                            nursery.start_soon(_supervise, core, slot, name=name)
            finally:
                needs.cancel()
    except BaseException as error:
        core.fail(error)
    finally:
        core.note_closed()


async def _run_runtime(
    core: Core, needs: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with needs:
        await core.runtime.run(task_status=task_status)


@trio.lowlevel.enable_ki_protection
async def _supervise(core: Core, slot: Slot) -> None:
    async with trio.open_nursery() as lives:
        slot.lives = lives
        while True:
            incarnation = slot.incarnation or await _spawn_until_ready(core, slot, lives)
            await _watch(core, incarnation)
            if incarnation.seated:
                core.unseat(slot, incarnation)
                await _mourn(core, incarnation)
            else:
                lives.start_soon(_see_off, core, incarnation)


async def _spawn_until_ready(core: Core, slot: Slot, lives: trio.Nursery) -> Incarnation:
    key = (core.scope, slot.number)
    while True:
        await trio.sleep(core.coordinator.backoff(key))
        async with core.coordinator.limiter:
            try:
                permit = core.coordinator.try_begin(key, scope=core.scope, budget=core.budget)
            except SpawnBudgetExhausted as error:
                refusal = error
            else:
                incarnation = await _attempt(core, slot, permit, lives)
                if incarnation is not None:
                    return incarnation
                continue
        await _wait_for_budget(core, slot, refusal)


async def _attempt(core: Core, slot: Slot, permit: SpawnPermit, lives: trio.Nursery) -> Incarnation | None:
    """One attempt; None if it failed, of which everybody has been told."""
    slot.on(SlotEvent.SPAWN)
    slot.retry_at = None
    birth = conceive(core, slot, core.generation)
    try:
        with permit:
            handle = await spawn(core, birth, lives)
    except SpawnError as error:
        core.attempt_failed(slot, str(birth.id), error)
        return None
    now = trio.current_time()
    incarnation = Incarnation(slot, handle, permit, core.config, now, recyclable=core.recyclable)
    incarnation.prove(now)
    core.seat(slot, incarnation)
    return incarnation


def conceive(core: Core, slot: Slot, generation: int) -> Birth:
    """The next worker's identity in this slot."""
    slot.born += 1
    core.counts.spawned += 1
    birth = Birth(WorkerId(core.name, slot.number, slot.born), generation, core.ladder)
    core.tell("spawning", str(birth.id))
    return birth


async def _wait_for_budget(core: Core, slot: Slot, refusal: SpawnBudgetExhausted) -> None:
    """Until the window has room again, or an attempt of another slot has ended."""
    if refusal.retry_after < math.inf:  # else only attempts in flight stand in the way: they may succeed yet
        core.exhausted(slot, refusal)
    with trio.move_on_after(refusal.retry_after):
        await core.coordinator.wait_settled(core.scope)


async def spawn(core: Core, birth: Birth, lives: trio.Nursery) -> WorkerHandle:
    """A worker that is ready: launch and readiness under one clock."""
    handle: WorkerHandle | None = None
    worker: WorkerHandle
    seconds = core.config.boot_timeout
    with trio.move_on_after(seconds):
        handle = worker = await lives.start(core.runtime.spawn, birth)
        lives.start_soon(_tell_end, core, worker)
        try:
            await worker.ready()
        except BaseException as error:
            worker.terminate(f"its boot was given up: {error}", Rung.TERMINATE)
            raise
        return worker
    late = BootTimeout(
        f"the worker was not ready within {seconds:g} s",
        worker=str(birth.id),
        stage="boot" if handle else "launch",
        generation=birth.generation,
        hint="see what its start waits for, or raise boot_timeout",
    )
    if handle is not None:
        late.pid, late.stderr = handle.pid, handle.stderr
        handle.terminate(late.message, Rung.TERMINATE)
    raise late


async def _watch(core: Core, incarnation: Incarnation) -> None:
    """Return when the worker takes no more calls. One scope serves all its clocks: its deadline moves."""
    condemned = incarnation.handle.condemned
    while not condemned.is_set() and incarnation.seated:
        await _next_alarm(core, incarnation)


async def _next_alarm(core: Core, incarnation: Incarnation) -> None:
    deadline = incarnation.next_alarm(trio.current_time())
    with trio.CancelScope(deadline=deadline) as incarnation.alarm:
        await incarnation.handle.condemned.wait()
    incarnation.prove(trio.current_time())
    if incarnation.overdue(trio.current_time()):
        incarnation.handle.terminate("a call on it ran longer than its exec_timeout", Rung.TERMINATE)
    core.look_if_due(incarnation)


async def _see_off(core: Core, incarnation: Incarnation) -> None:
    """A worker that was replaced finishes its calls, each still against its clock."""
    handle = incarnation.handle
    with trio.move_on_after(core.config.reload_drain_timeout):
        while not handle.condemned.is_set():
            await _next_alarm(core, incarnation)
    if not handle.condemned.is_set():
        handle.terminate("reload_drain_timeout: its calls took longer than that", Rung.TERMINATE)
    incarnation.give_back()


async def _mourn(core: Core, incarnation: Incarnation) -> None:
    """Settle what the worker's end means for the budget."""
    handle = incarnation.handle
    if handle.planned:
        incarnation.give_back()
        return
    core.counts.deaths += 1
    if not incarnation.prove(trio.current_time()):
        with trio.move_on_after(AUTOPSY):
            await handle.ended.wait()
        incarnation.spend(_young_death(core, handle))


def _young_death(core: Core, handle: WorkerHandle) -> WorkerDied:
    error = WorkerDied(
        f"the worker died before it was {core.config.min_uptime:g} s old: {handle.reason}",
        worker=str(handle.id),
        pid=handle.pid,
        generation=handle.generation,
        stderr=handle.stderr,
        stage="run",
    )
    if handle.exit is not None:
        error.exit_code, error.signal = handle.exit.code, handle.exit.signal
    return error


@trio.lowlevel.enable_ki_protection
async def _tell_end(core: Core, handle: WorkerHandle) -> None:
    with trio.CancelScope(shield=True):  # bounded by the worker's ladder
        await handle.ended.wait()
    core.listeners.tell(PoolEvent("ended", trio.current_time(), str(handle.id), handle.reason, handle.exit))

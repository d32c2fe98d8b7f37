"""Slot supervisors: each owns one slot, and sees to it that a worker serves in it, or waits there as a spare.

Invariants
    1. A slot gets its next worker as soon as the old one takes no more calls; it does not wait for its end.
    2. Every attempt has the coordinator's leave. A failed one, and a death younger than ``min_uptime``, spend it;
       what the pool itself ends gives it back.
    3. Being cancelled, supervision ends when all workers are gone, and not before.

Knows a runtime's interface. Does not know calls, bytes or pids.
Picture: docs/life-of-a-slot.md
"""

from __future__ import annotations

import math

import trio

from .._errors import SpawnBudgetExhausted, SpawnError, WorkerDied
from .._spawn import SpawnPermit
from ..abc import Rung, WorkerHandle
from .births import conceive, spawn
from .core import Core
from .elastic import resize
from .incarnation import Incarnation, Slot
from .seating import renounce_stale, seat, take_spare, unseat
from .states import SlotEvent, SlotState

__all__ = ["supervise_all"]

SPARE_PAUSE = 0.02
"""Seconds after which a spare that has taken a slot is replaced: its first call comes before the next birth."""
AUTOPSY = 1.0
"""Seconds that a slot waits to learn how its worker died young, before it tries again."""


@trio.lowlevel.enable_ki_protection
async def supervise_all(core: Core) -> None:
    """Supervise every slot until the pool closes. Never raises: what fails here is the pool's failure.

    Cancellation: shielded; it ends by ``core.supervision``.
    """
    config = core.config
    needs = trio.CancelScope()  # what the runtime needs is there until the last worker is gone
    try:
        async with trio.open_nursery() as home:
            try:
                with core.supervision:
                    await home.start(_run_runtime, core, needs)
                    async with trio.open_nursery() as core.lives:
                        for slot in (*core.slots, *core.spares):
                            name = f"{core.name}/{slot.number} supervisor"
                            core.lives.start_soon(_supervise, core, slot, name=name)
                        if config.fewest < config.slots:
                            core.lives.start_soon(resize, core, name=f"{core.name} sizes")
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
        await core.runtime.run(task_status=_Shielding(needs, task_status))


class _Shielding:
    """Shield a scope as soon as its task has started: until then whoever starts it may give it up."""

    def __init__(self, scope: trio.CancelScope, status: trio.TaskStatus[None]) -> None:
        self._scope = scope
        self._status = status

    def started(self, value: None = None) -> None:
        # Who has given it up already waits for it to end (Nursery.start), and must not wait for ever.
        self._scope.shield = trio.current_effective_deadline() > -math.inf
        self._status.started()


@trio.lowlevel.enable_ki_protection
async def _supervise(core: Core, slot: Slot) -> None:
    assert core.lives is not None
    settled = trio.Event()
    settled.set()
    with core.generations.follow() as news:
        core.lives.start_soon(_follow, core, slot, news, name=f"{core.name}/{slot.number} generations")
        while True:
            incarnation = slot.incarnation or await _next_worker(core, slot, settled)
            await _watch(core, slot, incarnation)
            if slot.incarnation is incarnation:
                unseat(core, slot, incarnation)
                settled = trio.Event()
                core.lives.start_soon(_mourn, core, incarnation, settled)
            elif incarnation.slot is slot:
                core.lives.start_soon(_see_off, core, incarnation)


async def _follow(core: Core, slot: Slot, news: trio.MemoryReceiveChannel[int]) -> None:
    async for generation in news:
        renounce_stale(core, slot, generation)


async def _next_worker(core: Core, slot: Slot, settled: trio.Event) -> Incarnation:
    """A spare, where there is one; else whatever comes first: a worker of its own, or one that it is given.

    Its own is not tried for before the last one's account is settled, on which the budget depends.
    """
    while True:
        await _wait_wanted(core, slot)
        if not slot.spare:
            take_spare(core, slot)
        with trio.CancelScope() as slot.attempt:
            if slot.incarnation is None:
                await settled.wait()
            while slot.incarnation is None:
                await _try_to_spawn(core, slot)
        if slot.incarnation is not None:
            return slot.incarnation
        slot.on(SlotEvent.CLEAR)  # it was of older code


async def _wait_wanted(core: Core, slot: Slot) -> None:
    """Slots first: a spare is made when every slot has its worker, or cannot have one."""
    while not slot.wanted:
        slot.on(SlotEvent.CLEAR)
        slot.asked = trio.Event()
        await slot.asked.wait()
    while slot.spare and any(
        each.incarnation is None and each.state is not SlotState.FAILED for each in core.wanted()
    ):
        await core.changed.wait()
    if slot.spare and slot.born:
        await trio.sleep(SPARE_PAUSE)


async def _try_to_spawn(core: Core, slot: Slot) -> None:
    account = slot.account
    key = (account.scope, slot.number)
    await trio.sleep(core.coordinator.backoff(key))
    async with core.coordinator.limiter:
        if slot.incarnation is not None:
            return
        try:
            permit = core.coordinator.try_begin(key, scope=account.scope, budget=account.budget)
        except SpawnBudgetExhausted as error:
            refusal = error
        else:
            await _attempt(core, slot, permit)
            return
    await _wait_for_budget(core, slot, refusal)


async def _attempt(core: Core, slot: Slot, permit: SpawnPermit) -> None:
    """One attempt. If it fails, everybody has been told."""
    slot.on(SlotEvent.SPAWN)
    slot.retry_at = None
    slot.conceived = core.generations.current
    birth = conceive(core, slot, slot.conceived)
    try:
        with permit:
            handle = await spawn(core, birth)
    except SpawnError as error:
        if slot.incarnation is None:
            core.attempt_failed(slot, str(birth.id), error)
        return
    now = trio.current_time()
    incarnation = Incarnation(slot, handle, permit, core.config, now, recyclable=core.recyclable)
    if slot.incarnation is not None:
        handle.terminate("its slot was given another worker")
        incarnation.give_back()
        return
    incarnation.prove(now)
    seat(core, slot, incarnation)


async def _wait_for_budget(core: Core, slot: Slot, refusal: SpawnBudgetExhausted) -> None:
    """Until the window has room again, or an attempt of another slot has ended."""
    if refusal.retry_after < math.inf:  # else only attempts in flight stand in the way: they may succeed yet
        core.exhausted(slot, refusal)
    with trio.move_on_after(refusal.retry_after):
        await core.coordinator.wait_settled(slot.account.scope)


async def _watch(core: Core, slot: Slot, incarnation: Incarnation) -> None:
    """Return when the worker takes no more calls here. One scope serves all its clocks: its deadline moves."""
    condemned = incarnation.handle.condemned
    while not condemned.is_set() and slot.incarnation is incarnation:
        await _next_alarm(core, incarnation)


async def _next_alarm(core: Core, incarnation: Incarnation) -> None:
    deadline = incarnation.next_alarm(trio.current_time())
    with trio.CancelScope(deadline=deadline) as incarnation.alarm:
        await incarnation.handle.condemned.wait()
    incarnation.prove(trio.current_time())
    if incarnation.overdue(trio.current_time()):
        incarnation.handle.terminate("a call on it ran longer than its exec_timeout", Rung.TERMINATE)
    core.look_if_due(incarnation)
    if incarnation.stuck(trio.current_time()):
        core.dispatch.note_stuck(incarnation)


async def _see_off(core: Core, incarnation: Incarnation) -> None:
    """A worker that was replaced finishes its calls, each still against its clock."""
    handle = incarnation.handle
    with trio.move_on_after(core.config.reload_drain_timeout):
        while not handle.condemned.is_set():
            await _next_alarm(core, incarnation)
    if not handle.condemned.is_set():
        handle.terminate("reload_drain_timeout: its calls took longer than that", Rung.TERMINATE)
    incarnation.give_back()


async def _mourn(core: Core, incarnation: Incarnation, settled: trio.Event) -> None:
    """Settle what the worker's end means for the budget."""
    handle = incarnation.handle
    if handle.planned:
        incarnation.give_back()
    else:
        core.counts.deaths += 1
        if not incarnation.prove(trio.current_time()):
            with trio.move_on_after(AUTOPSY):
                await handle.ended.wait()
            incarnation.spend(_young_death(core, handle))
    settled.set()


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

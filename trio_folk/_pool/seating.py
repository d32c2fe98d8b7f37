"""Seating: which worker has which slot. Every change of that is made here, in one synchronous step each.

A slot's worker is in dispatch; a spare is ready, and is not. A spare keeps its name when it takes a slot.

Invariants
    1. A slot has one worker or none, and a worker has one slot.
    2. There is no instant between two workers of a slot in a swap.
    3. A spare of older code is never seated.

Knows the core, slots and incarnations. Does not wait, and makes no worker.
"""

from __future__ import annotations

from .core import Core
from .incarnation import Incarnation, Slot
from .states import SlotEvent, SlotState

__all__ = ["give", "renounce_stale", "seat", "swap", "take_spare", "unseat"]


def seat(core: Core, slot: Slot, incarnation: Incarnation) -> None:
    """A worker is ready in the slot that had it made, or becomes a spare there."""
    slot.incarnation = incarnation
    slot.on(SlotEvent.READY)
    core.tell("ready", str(incarnation.handle.id))
    if not slot.spare:
        _serve(core, slot, incarnation)
        return
    slot.failure = slot.retry_at = None
    slot.failures = 0
    core.recycling.settled(slot.number)
    for each in core.slots:
        if each.wanted and each.incarnation is None and take_spare(core, each):
            return


def give(core: Core, slot: Slot, incarnation: Incarnation) -> None:
    """A ready worker that was made for no slot in particular takes this one, which has none."""
    slot.incarnation, incarnation.slot = incarnation, slot
    slot.attempt.cancel()  # its own is not needed
    slot.on(SlotEvent.SWAP)
    _serve(core, slot, incarnation)


def take_spare(core: Core, slot: Slot) -> bool:
    """Let a spare take the slot, which has no worker, if there is one."""
    for seat in core.spares:
        spare = seat.incarnation
        if spare is not None and spare.serves and spare.handle.generation == core.generations.current:
            seat.incarnation = None
            seat.on(SlotEvent.CLEAR)
            spare.alarm.cancel()  # its supervisor makes another, and the slot's watches this one
            give(core, slot, spare)
            return True
    return False


def swap(core: Core, slot: Slot, incarnation: Incarnation) -> Incarnation:
    """A ready worker takes the place of the slot's worker, which finishes its calls. Returns the old one."""
    old = slot.incarnation
    assert old is not None
    core.dispatch.remove(old)
    slot.incarnation = None
    core.tell("ready", str(incarnation.handle.id))
    core.tell("retiring", str(old.handle.id), "reload")
    old.retire("reload: a worker of newer code has taken its place")
    old.alarm.cancel()  # its supervisor watches the new one from now on
    give(core, slot, incarnation)
    return old


def unseat(core: Core, slot: Slot, incarnation: Incarnation) -> None:
    """A worker takes no more calls, for whatever reason; its slot is free for the next."""
    core.dispatch.remove(incarnation)
    if incarnation.retiring is None:
        slot.on(SlotEvent.CONDEMN)
    slot.incarnation = None
    core.tell("condemned", str(incarnation.handle.id), incarnation.handle.reason)
    core.note_change()


def renounce_stale(core: Core, slot: Slot, generation: int) -> None:
    """Newer code is current: give up a birth in older code, and replace a spare of it."""
    spare = slot.incarnation if slot.spare else None
    if slot.state is SlotState.SPAWNING and slot.conceived != generation:
        slot.attempt.cancel()
    elif spare is not None and not spare.over and spare.handle.generation != generation:
        core.retire(spare, "reload: a spare of older code")


def _serve(core: Core, slot: Slot, incarnation: Incarnation) -> None:
    slot.failure = slot.retry_at = None
    slot.failures = 0
    core.note_served()
    core.recycling.settled(slot.number)
    core.routing.note_serves(slot)
    core.dispatch.offer(incarnation)
    core.note_change()

"""Steering: what somebody asks of a pool that runs: so many slots, or a fresh worker in this one.

Whoever looks after a pool would otherwise kill workers by hand, and every kill costs somebody's call.

Invariants
    1. No running call is ended: a worker that must go finishes what it has.
    2. At least one slot is wanted, always: calls that wait for none would wait for ever.
    3. A pool that was scaled keeps that size until it is scaled again: it neither grows nor shrinks by itself.

Knows the core and its slots. Does not know who asks.
Picture: docs/design/admin.md
"""

from __future__ import annotations

import copy

import trio

from .._errors import FolkError
from .core import Core
from .elastic import grow
from .incarnation import Slot

__all__ = ["recycle", "scale"]

_ASKED = "recycle: somebody asked for another in its place"


def scale(core: Core, slots: int | None) -> None:
    """Want so many slots; None: as many as the settings say."""
    if core.closing:
        raise core.closed_error()
    if slots is None:
        core.fewest, core.most = core.config.fewest, core.config.slots
    else:
        core.fewest = core.most = _sized(core, slots)
    grow(core, core.fewest)
    for slot in _dispensable(core)[: max(len(core.wanted()) - core.most, 0)]:
        _give_up(core, slot)
    core.sizing.cancel()  # its bounds are others now
    core.note_change()


def _sized(core: Core, slots: int) -> int:
    if isinstance(slots, bool) or not isinstance(slots, int):
        raise TypeError(f"a pool is scaled to a whole number of slots, or None, not {slots!r}")
    if not 1 <= slots <= len(core.slots):
        raise ValueError(
            f"the pool {core.name!r} can have 1 to {len(core.slots)} workers, not {slots}: "
            f"its slots are numbered when it is opened, and to stop it there is drain()"
        )
    return slots


def _dispensable(core: Core) -> list[Slot]:
    """The wanted slots, those first whose loss costs least."""

    def worth(slot: Slot) -> tuple[bool, int, int]:
        worker = slot.incarnation
        serves = worker is not None and worker.serves
        return serves, worker.load if worker else 0, -slot.number

    return sorted(core.wanted(), key=worth)


def _give_up(core: Core, slot: Slot) -> None:
    slot.wanted = False
    slot.attempt.cancel()  # where one is being born
    core.routing.note_gone(slot)  # what waits for it by its key waits for another
    if slot.incarnation is not None and not slot.incarnation.over:
        core.retire(slot.incarnation, f"scale: {core.most} slots are enough")


async def recycle(core: Core, number: int) -> str:
    """Have a slot's worker replaced; returns the id of the one that serves there afterwards."""
    await trio.lowlevel.checkpoint()
    if not 0 <= number < len(core.slots):
        raise ValueError(f"the pool {core.name!r} has the slots 0 to {len(core.slots) - 1}, and not {number}")
    if not core.recyclable:
        raise FolkError(f"the workers of the pool {core.name!r} may not be replaced: their runtime says so")
    slot = core.slots[number]
    old = slot.incarnation
    while True:
        if core.closing:
            raise core.closed_error()
        if not slot.wanted:
            raise FolkError(
                f"slot {number} of the pool {core.name!r} is to have no worker now",
                hint="more slots are wanted after scale(), or when calls wait",
            )
        new = slot.incarnation
        if new is not None and new is not old and new.serves:
            return str(new.handle.id)
        if new is None and slot.failure is not None:
            raise copy.copy(slot.failure)  # its traceback is this caller's
        if old is not None and new is old and not old.over:
            core.recycling.ask(old, _ASKED)
        await core.changed.wait()  # bounded by the calls that it runs, then by boot_timeout and the budget

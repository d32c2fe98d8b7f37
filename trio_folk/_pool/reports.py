"""What a reload tells of itself, frozen: who was replaced by whom, and how long it took.

Knows numbers and names. Does not know how anything is replaced.
"""

from __future__ import annotations

import attrs
import trio

from .incarnation import Incarnation, Slot

__all__ = ["ReloadReport", "SlotReload", "record"]


@attrs.frozen(kw_only=True)
class SlotReload:
    """What a reload did to one slot.

    Attributes:
        slot: its number.
        old: the worker that was replaced, or None if the slot had none.
        new: the worker that took its place, or None if the slot gets one by itself at its next attempt.
        generation: of the worker it has now, or will be born with.
        seconds: how long its turn took, the drain of the old worker included.
        drained: calls that ran on the old worker when it was replaced.
    """

    slot: int
    old: str | None
    new: str | None
    generation: int
    seconds: float
    drained: int


@attrs.frozen(kw_only=True)
class ReloadReport:
    """What a reload did.

    Attributes:
        generation: the number of the code that new workers are born with now.
        slots: one record for each slot that had its turn, in that order.
        seconds: how long it all took.
        left: slots that were left alone, because their workers may not be replaced.
    """

    generation: int
    slots: tuple[SlotReload, ...]
    seconds: float
    left: tuple[int, ...] = ()


def record(
    slot: Slot,
    generation: int,
    began: float,
    old: Incarnation | None = None,
    new: Incarnation | None = None,
    drained: int = 0,
) -> SlotReload:
    """What happened in one slot's turn."""
    return SlotReload(
        slot=slot.number,
        old=str(old.handle.id) if old else None,
        new=str(new.handle.id) if new else None,
        generation=generation,
        seconds=trio.current_time() - began,
        drained=drained,
    )

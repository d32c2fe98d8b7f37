"""The states of a slot, as a total table: every state and every event has been thought about.

Why a worker ended is a reason, which is data; it never makes another state.

Knows words. Does not know workers, calls or time.
Picture: docs/life-of-a-slot.md
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TABLE", "IllegalEvent", "SlotEvent", "SlotState", "after"]


class SlotState(enum.IntEnum):
    """What a slot is doing."""

    EMPTY = 0
    """No worker, and none coming this moment."""
    SPAWNING = 1
    """A worker is being launched, or was and is not ready."""
    IDLE = 2
    """Its worker is ready and runs nothing."""
    BUSY = 3
    """Its worker runs at least one call."""
    STOPPING = 4
    """Its worker takes no more calls: it is being replaced, or it died."""
    FAILED = 5
    """Workers could not be brought to life here again and again; it waits before the next attempt."""

    def __repr__(self) -> str:
        return self.name


class SlotEvent(enum.IntEnum):
    """What can happen to a slot."""

    SPAWN = 0
    """An attempt begins."""
    READY = 1
    """The worker is ready."""
    FAIL = 2
    """The attempt failed."""
    GIVE_UP = 3
    """It failed too often in a row."""
    TAKE = 4
    """A call begins."""
    FREE = 5
    """The last running call ended."""
    CONDEMN = 6
    """The worker takes no more calls."""
    CLEAR = 7
    """The slot is without a worker."""
    SWAP = 8
    """A worker that is already ready takes it, in place of another or of none."""

    def __repr__(self) -> str:
        return self.name


class IllegalEvent(AssertionError):
    """An event that cannot happen in this state: a defect of the pool, never of its user."""


_E, _S, _I, _B, _T, _F = SlotState
_: Final = None  # illegal

TABLE: Final[tuple[tuple[SlotState | None, ...], ...]] = (
    # EMPTY SPAWNING IDLE BUSY STOPPING FAILED
    (_S, _, _, _, _S, _S),  # SPAWN
    (_, _I, _, _, _T, _),  # READY
    (_, _E, _, _, _E, _),  # FAIL
    (_F, _F, _, _, _F, _F),  # GIVE_UP
    (_, _, _B, _B, _, _),  # TAKE
    (_, _, _, _I, _T, _),  # FREE
    (_E, _T, _T, _T, _T, _F),  # CONDEMN
    (_E, _E, _E, _E, _E, _E),  # CLEAR
    (_I, _I, _I, _I, _I, _I),  # SWAP
)  # fmt: skip


def after(state: SlotState, event: SlotEvent) -> SlotState:
    """The state that follows.

    Raises:
        IllegalEvent: the table has none.
    """
    following = TABLE[event][state]
    if following is None:
        raise IllegalEvent(f"{event.name} cannot happen to a slot that is {state.name}")
    return following

"""Locks that are still held and channels that are still open, found among all objects; on demand, for it is slow.

A lock that the function's own task holds is known to trio and always looked for. The rest is only found by
going through every object: a lock whose owner has ended, a borrowed token of a limiter, a channel's open end.

What does not work
    Semaphores have no owner. Channels are often left to the garbage collector, and no harm done: ask for them
    only where they must be closed.

Knows trio's locks and channels. Does not know who should have released them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import attrs
import trio

from . import privates

__all__ = ["SCANS", "Held"]

SCANS = frozenset({"locks", "channels"})
"""What can be asked for."""
_LOCKS = (trio.Lock, trio.StrictFIFOLock)
_CHANNELS = (trio.MemorySendChannel, trio.MemoryReceiveChannel)


@attrs.frozen
class Held:
    """What is held at one moment; each with what to call it. Keeps the things alive, so that ids stay theirs."""

    things: dict[int, tuple[object, str]]

    @classmethod
    def now(cls, scans: frozenset[str]) -> Held:
        """Look, inside ``trio.run``, from the function's task."""
        me = trio.lowlevel.current_task()
        found: dict[int, tuple[object, str]] = {}
        found |= {id(lot): (lot, f"a lock held by task {me.name!r}") for lot in privates.held_locks(me)}
        if scans:
            found |= {id(thing): (thing, name) for thing, name in _scan(scans, me)}
        return cls(found)

    def since(self, before: Held) -> list[str]:
        """The names of the things that were not held before."""
        return [name for key, (_, name) in self.things.items() if key not in before.things]


def _scan(scans: frozenset[str], me: trio.lowlevel.Task) -> Iterator[tuple[object, str]]:
    for thing in gc.get_objects():
        kind = type(thing)
        if "locks" in scans:
            if kind in _LOCKS:
                owner = thing.statistics().owner
                if owner is not None and _has_ended(owner):
                    yield thing, f"{kind.__name__} held by task {owner.name!r}, which has ended"
            elif kind is trio.CapacityLimiter:
                for borrower in thing.statistics().borrowers:
                    if borrower is me or (isinstance(borrower, trio.lowlevel.Task) and _has_ended(borrower)):
                        yield thing, f"token of a CapacityLimiter held by task {borrower.name!r}"
        if "channels" in scans and kind in _CHANNELS and not privates.is_closed(thing):
            yield thing, f"{kind.__name__} not closed"


def _has_ended(task: trio.lowlevel.Task) -> bool:
    return getattr(task.coro, "cr_frame", task) is None

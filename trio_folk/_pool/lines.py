"""Lines: who waits with a key or a priority, and who of them is served first.

A call with a key waits for one slot, and one that is urgent overtakes others, so one queue that is served from its
front is not enough. Calls with neither wait in dispatch, as they would if there were no others; here they are only
compared with.

Invariants
    1. In each line the highest priority is first; among equals those who had their turn and lost it, then who came
       first.
    2. The same holds between a slot's line and those that take any slot: a slot serves the foremost of both.
    3. To join, to leave and to be served takes the same time however many wait, if their priorities are few.

Knows waiting tasks and numbers. Does not know slots' states, nor who routes.
Picture: docs/design/routing.md
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import attrs
import trio

from ..abc import Key
from .hashing import check_key
from .incarnation import Incarnation

__all__ = ["Line", "Lines", "Place", "PlacedWaiter", "Waiter"]

Order = tuple[int, int, int]
"""The less, the sooner: the priority, negated; 0 for one that had its turn; its number."""

_BEFORE_ALL: Order = (0, 1, 0)


@attrs.frozen
class Place:
    """Where a call is to run, and how far in front it waits.

    Attributes:
        key: what it has in common with those that run in the same slot, or None.
        priority: the higher, the sooner; 0 is everybody's.
    """

    key: Key | None
    priority: int

    @classmethod
    def of(cls, key: Key | None, priority: int) -> Place | None:
        """The place of such a call, or None if it is any.

        Raises:
            TypeError: that is no key, or no priority.
        """
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise TypeError(f"priority is a whole number, the higher the sooner, not {priority!r}")
        if key is None:
            return cls(None, priority) if priority else None
        check_key(key)
        return cls(key, priority)


class Waiter:
    """A task that waits for its turn; it is woken with a worker or with an error."""

    __slots__ = ("alone", "error", "incarnation", "order", "task")

    def __init__(self, task: trio.lowlevel.Task, *, alone: bool = False) -> None:
        self.task = task
        self.alone = alone  # it wants a free seat, and nothing held beside it
        self.incarnation: Incarnation | None = None
        self.error: Exception | None = None
        self.order = _BEFORE_ALL  # while nobody waits in lines its number does not matter


class PlacedWaiter(Waiter):
    """One that waits in a line."""

    __slots__ = ("line", "place")

    def __init__(self, task: trio.lowlevel.Task, place: Place, *, alone: bool = False) -> None:
        super().__init__(task, alone=alone)
        self.place = place
        self.line: Line | None = None


class Line:
    """Those who wait for the same slot, or for any."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int], OrderedDict[PlacedWaiter, None]] = {}
        self._sorted: list[tuple[int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PlacedWaiter]:
        """The foremost first."""
        for level in self._sorted:
            yield from self._levels[level]

    def add(self, waiter: PlacedWaiter) -> None:
        """Let it wait, behind those of its priority."""
        level = waiter.order[:2]
        if level not in self._levels:
            self._levels[level] = OrderedDict()
            insort(self._sorted, level)
        self._levels[level][waiter] = None
        self._count += 1
        waiter.line = self

    def remove(self, waiter: PlacedWaiter) -> None:
        """It waits here no longer."""
        level = waiter.order[:2]
        del self._levels[level][waiter]
        if not self._levels[level]:
            del self._levels[level]
            self._sorted.remove(level)
        self._count -= 1
        waiter.line = None


class Lines:
    """All who wait with a key or a priority.

    Attributes:
        count: how many they are.
        common: those without a key.
        turns: the number that the last one got who came to wait; 0 as long as nobody waited in a line.
    """

    def __init__(self) -> None:
        self.count = 0
        self.common = Line()
        self.turns = 0
        self._keyed: dict[int | None, Line] = {}  # by the slot's number; None while no slot has keys
        self._last: PlacedWaiter | None = None

    def __repr__(self) -> str:
        keyed = {slot: len(line) for slot, line in self._keyed.items()}
        return f"<Lines: {len(self.common)} for any slot, by slot {keyed}>"

    def number(self, waiter: Waiter, *, first: bool) -> None:
        """It begins to wait, in a line or beside them: after all others of its priority, or first."""
        self.turns += 1
        priority = waiter.place.priority if isinstance(waiter, PlacedWaiter) else 0
        waiter.order = (-priority, 0 if first else 1, self.turns)

    def add(self, waiter: PlacedWaiter, slot: int | None) -> None:
        """It waits for this slot, if it has a key, else for any."""
        line = self.common
        if waiter.place.key is not None:
            line = self._keyed.setdefault(slot, Line())
        line.add(waiter)
        self._last = waiter
        self.count += 1

    def remove(self, waiter: PlacedWaiter) -> None:
        """It waits no longer, if it did."""
        if waiter.line is not None:
            waiter.line.remove(waiter)
            self.count -= 1

    def keyed(self) -> list[PlacedWaiter]:
        """Those with a key, of all slots, the foremost first."""
        return sorted((each for line in self._keyed.values() for each in line), key=lambda each: each.order)

    def move(self, slots: Iterable[tuple[PlacedWaiter, int | None]]) -> None:
        """Let all those with a key wait for other slots, each for its own; in the order of `keyed`. Those who are not
        named wait no longer."""
        for waiter in self.keyed():
            self.remove(waiter)
        self._keyed.clear()
        for waiter, slot in slots:
            self.add(waiter, slot)

    def length(self, slot: int) -> int:
        """How many wait for this slot and no other."""
        return len(self._keyed.get(slot, ()))

    def foremost(self, slot: int, plain: Waiter | None) -> Waiter | None:
        """Who is served by this slot next: this one, who waits beside the lines, or somebody in them; or nobody."""
        best = plain
        for line in (self.common, self._keyed.get(slot)):
            head = next(iter(line), None) if line else None
            if head is not None and (best is None or head.order < best.order):
                best = head
        return best

    def newest(self, *, keyed: bool) -> Waiter | None:
        """One who came late: the last of all, or if that one has gone, or has a key and is not asked for, another."""
        last = self._last
        if last is not None and last.line is not None and (keyed or last.place.key is None):
            return last
        lines = [self.common, *self._keyed.values()] if keyed else [self.common]
        return next((waiter for line in lines for waiter in line), None)

    def clear(self) -> list[PlacedWaiter]:
        """Everybody, who waits here no longer."""
        found = [*self.common, *self.keyed()]
        for waiter in found:
            self.remove(waiter)
        return found

"""The lender: the segments that one side has made, each free or lent, and reused while it is warm.

New pages cost four times the copy into them, so a segment is kept for the next value. Kept for ever it would be
memory that nobody uses: all together have a bound, and idle ones go when others need the room, or when
nothing large has come for a while.

Invariants
    1. A segment that is lent is not lent again, and is not dropped.
    2. All of them together never have more than `most` bytes.
    3. The number of a segment is never used again.

Knows sizes. Does not know who borrows, nor how it is told.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._segments import Segment

__all__ = ["SMALLEST", "Lender"]

SMALLEST = 1 << 20  # bytes of a segment: four of the smallest large buffers
_WASTE = 4  # times the size that is asked for: so much larger may a warm segment be


class Lender:
    """The segments of one side.

    Args:
        most: bytes that they may have together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = allocate_lock()  # a worker's calls, and its thread that hears of their ends
        self._free: list[Segment] = []  # the one used last at the end
        self._lent: dict[int, Segment] = {}
        self._numbers = 0
        self._total = 0
        self._closed = False
        self._dropped: list[int] = []

    @property
    def idle(self) -> bool:
        """Whether there is a segment that nobody has."""
        return bool(self._free)

    def lend(self, size: int) -> Segment | None:
        """A segment with room for so many bytes; None where there is no room for it."""
        with self._lock:
            segment = None if self._closed else self._warm(size) or self._new(size)
            if segment is not None:
                self._lent[segment.number] = segment
            return segment

    def take_back(self, number: int) -> bool:
        """Its use is over; whether it was lent at all."""
        with self._lock:
            segment = self._lent.pop(number, None)
            if segment is None:
                return False
            if segment.descriptor is not None or self._closed:
                self._drop(segment)  # the other side has never heard of it, or never will again
            else:
                self._free.append(segment)
            return True

    def trim(self) -> None:
        """Drop what is free."""
        with self._lock:
            while self._free:
                self._drop(self._free.pop())

    def dropped(self) -> list[int]:
        """The segments that are gone since the last call; the other side is to be told."""
        with self._lock:
            dropped, self._dropped = self._dropped, []
            return dropped

    def close(self) -> None:
        """The other side is gone: let go of everything."""
        self.trim()
        with self._lock:
            self._closed = True
            while self._lent:
                self._drop(self._lent.popitem()[1])

    def _warm(self, size: int) -> Segment | None:
        for place in range(len(self._free) - 1, -1, -1):
            if size <= self._free[place].size <= max(size, SMALLEST) * _WASTE:
                return self._free.pop(place)
        return None

    def _new(self, size: int) -> Segment | None:
        from ._segments import Segment

        rounded = max(SMALLEST, 1 << (size - 1).bit_length())
        if rounded > self._most - self._total + sum(each.size for each in self._free):
            rounded = -(-size // SMALLEST) * SMALLEST  # exactly, rather than not at all
        while self._free and self._total + rounded > self._most:
            self._drop(self._free.pop(0))
        if self._total + rounded > self._most:
            return None
        try:
            segment = Segment(self._numbers + 1, rounded)
        except OSError:
            return None  # no descriptors, or no memory: there are frames
        self._numbers += 1
        self._total += rounded
        return segment

    def _drop(self, segment: Segment) -> None:
        self._total -= segment.size
        if segment.descriptor is None:
            self._dropped.append(segment.number)
        segment.announced()

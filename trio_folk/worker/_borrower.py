"""The borrower: the segments that the other side has made, and the views of them that are still in use.

Invariants
    1. A segment is mapped once, within the bound, and only if its memory cannot change its size.
    2. A loan is of a segment that is not in use here, and lies within it.
    3. A use that is over is noted once, in whatever thread its last view died.

Knows mappings. Does not know whose the segments are, nor how they are announced.
"""

from __future__ import annotations

import os
from collections import deque
from functools import partial

from .._errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._segments import Mapping

__all__ = ["Borrower", "Loan", "loan_from", "numbers"]

MOST_SEGMENTS = 1024
MOST_BUFFERS = 65536

_INTS = frozenset({int})
_LAST_KIND = 2

Loan = tuple[int, list[tuple[int, int, int]]]
"""The number of a segment, and the offset, length and kind of each buffer in it."""


class Borrower:
    """What one side has of the other's.

    Args:
        most: bytes that all segments may have together.

    Attributes:
        uses: numbers of the segments that are in use here.
        over: of those, the ones whose last view has died since the last `sweep`; noted by whoever let it die.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._mappings: dict[int, Mapping] = {}
        self.over: deque[int] = deque()
        self.uses: set[int] = set()

    def announce(self, params: Any, descriptor: int) -> None:
        """The params of ``folk.segment`` have come, and this descriptor, which is closed.

        Raises:
            ProtocolError: this cannot be, or cannot be mapped safely.
        """
        from ._segments import PAGE, Mapping

        try:
            match params:
                case {"segment": int(number), "size": int(size)}:
                    known = sum(each.size for each in list(self._mappings.values()))
                case _:
                    raise ProtocolError("folk.segment carries a number and a size")
            if number < 1 or number in self._mappings:
                raise ProtocolError(f"a segment with the number {number}, which is taken or no number")
            if size < 1 or size % PAGE or known + size > self._most or len(self._mappings) >= MOST_SEGMENTS:
                raise ProtocolError(
                    f"a segment of {size} bytes, where {self._most - known} of max_shared are left"
                )
            self._mappings[number] = Mapping(descriptor, size)
        finally:
            os.close(descriptor)

    def knows(self, number: int) -> bool:
        """Whether it has been announced."""
        return number in self._mappings

    def forget(self, params: Any) -> None:
        """The params of ``folk.dropped`` have come. Views that there are keep their memory.

        Raises:
            ProtocolError: those were not known.
        """
        for number in numbers("folk.dropped", params):
            if self._mappings.pop(number, None) is None:
                raise ProtocolError(f"folk.dropped of segment {number}, which is not known")

    def close(self) -> None:
        """The other side is gone: forget its segments. Views that there are keep their memory."""
        self._mappings.clear()

    def borrow(self, loan: Loan) -> list[tuple[memoryview, int]]:
        """The buffers of a loan as read-only views, and what is to be made of each. The use lasts as long as a view.

        Raises:
            ProtocolError: there are no such buffers.
        """
        number, spans = loan
        mapping = self._mappings.get(number)
        if mapping is None or number in self.uses:
            raise ProtocolError(
                f"a loan of segment {number}, which is {'not known' if mapping is None else 'in use'}"
            )
        for offset, length, _ in spans:
            if offset + length > mapping.size:
                raise ProtocolError(f"a loan of bytes {offset} to {offset + length} of {mapping.size}")
        self.uses.add(number)
        view = mapping.view(partial(self.over.append, number))
        return [(view[offset : offset + length], kind) for offset, length, kind in spans]

    def sweep(self) -> list[int]:
        """The segments whose last view has died since the last call."""
        ended = []
        while self.over:
            number = self.over.popleft()
            self.uses.discard(number)
            ended.append(number)
        return ended


def loan_from(value: Any) -> Loan:
    """A loan as it came.

    Raises:
        ProtocolError: it is none.
    """
    if type(value) is list and len(value) == 2 and type(value[0]) is int and type(value[1]) is list:
        number, flat = value
        if _INTS.issuperset(map(type, flat)) and len(flat) % 3 == 0 and len(flat) <= 3 * MOST_BUFFERS:
            kinds = flat[2::3]
            if not flat or (min(flat) >= 0 and max(kinds) <= _LAST_KIND):
                return number, list(zip(flat[0::3], flat[1::3], kinds, strict=True))
    raise ProtocolError("a loan is a segment, and the offset, length and kind of each buffer in it")


def numbers(method: str, params: Any) -> list[int]:
    """The segments that a message names.

    Raises:
        ProtocolError: it names something else.
    """
    if isinstance(params, list) and all(type(each) is int for each in params):
        return params
    raise ProtocolError(f"{method} carries an array of numbers")

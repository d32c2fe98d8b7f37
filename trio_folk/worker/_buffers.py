"""A worker's large buffers: arguments that lie in the parent's segments, results that are put into its own.

Invariants
    1. Whatever of an argument is still reachable when its call is answered, the parent was told of before.
    2. A result's segment is written to again only after the parent has released it.
    3. What cannot be shared goes into the frame, as if there were no shared memory.

Knows both sides of a loan and the control channel. Does not know calls, nor who reads that channel.
"""

from __future__ import annotations

import time

from .._errors import ProtocolError
from .._wire import Notify, encode_notify
from ._borrower import Borrower, loan_from, numbers
from ._lender import Lender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._control import Control
    from ._large import Large

__all__ = ["RELEASED", "Buffers"]

RELEASED = "folk.released"
ANNOUNCED = 10.0
"""Seconds for the announcement of a segment, which was sent before the call that names it."""

_PAUSE = 0.0002  # seconds between two looks for it
_ROOM = 64  # bytes in a frame for whatever is neither pickle nor loan
_SPAN = 21  # bytes of a loan for each buffer


class Buffers:
    """What one worker shares with its parent.

    Args:
        control: where segments are announced.
        transfer: as what large bytes arrive in the parent.
        most: bytes of segments each way.
        limit: the longest frame.

    Attributes:
        uses: the parent's segments in which something was reachable when it was last looked.
    """

    def __init__(self, control: Control, transfer: str, most: int, limit: int) -> None:
        self._control = control
        self._transfer = transfer
        self._limit = limit
        self._lender = Lender(most)
        self._borrower = Borrower(most)
        self.uses = self._borrower.uses
        self._held: set[int] = set()  # what the parent was told of

    def borrow(self, loan: Any) -> list[Any]:
        """The buffers that a call came with.

        Raises:
            ProtocolError: there are no such buffers.
        """
        understood = loan_from(loan)
        self._await_announcement(understood[0])
        return [_made(view, kind) for view, kind in self._borrower.borrow(understood)]

    def pickled(self, value: Any) -> bytes | list[Any]:
        """The pickle of a result; with a loan where large parts of it are in shared memory.

        Raises:
            Exception: it has none.
        """
        from ._large import Large
        from ._views import dumps

        large = Large(self._transfer)
        pickled = dumps(large.lift(value), large)
        if not large:
            return pickled
        fits = len(pickled) + _ROOM + _SPAN * len(large.buffers) <= self._limit
        loan = self._lend(large) if fits else None
        return dumps(value) if loan is None else [pickled, loan]

    def settle(self) -> None:
        """A call is about to be answered: say what is held beyond that, and what is held no more."""
        released = self._held.intersection(self._borrower.sweep())
        held = self._borrower.uses - self._held
        self._held |= held
        self._held -= released
        self._say("folk.held", sorted(held))
        self._say(RELEASED, sorted(released))

    def hear(self, message: Notify) -> None:
        """A message that may be about segments.

        Raises:
            ProtocolError: it is, and cannot be true.
        """
        if message.method == "folk.segment":
            self._borrower.announce(message.params, self._control.descriptors.claim())
        elif message.method == "folk.dropped":
            self._borrower.forget(message.params)
        elif message.method == RELEASED:
            for number in numbers(RELEASED, message.params):
                self._lender.take_back(number)
        elif message.method == "folk.trim":
            self._lender.trim()
            self._say_dropped()

    def _await_announcement(self, number: int) -> None:
        until = time.monotonic() + ANNOUNCED
        while not self._borrower.knows(number):
            if time.monotonic() > until:
                raise ProtocolError(f"segment {number} was never announced")
            time.sleep(_PAUSE)

    def _lend(self, large: Large) -> list[Any] | None:
        segment = self._lender.lend(large.size)
        if segment is None:
            return None
        for _ in large.fill(segment.memory):
            pass
        if segment.descriptor is not None:
            self._say_dropped()
            params = {"segment": segment.number, "size": segment.size}
            self._control.say(encode_notify("folk.segment", params), segment.descriptor)
            segment.announced()
        return large.loan(segment.number)

    def _say_dropped(self) -> None:
        self._say("folk.dropped", self._lender.dropped())

    def _say(self, method: str, told: list[int]) -> None:
        if told:
            self._control.say(encode_notify(method, told))


def _made(view: memoryview, kind: int) -> Any:
    """What a function gets for a buffer."""
    if kind == 0:
        return view
    from ._segments import copied

    return copied(view, mutable=kind == 2)

"""One worker's large buffers on the parent's side: arguments are put into segments of ours, results lie in its own.

Invariants
    1. A segment of ours is written to again only after the call that it was for was answered, and the worker holds
       nothing of it.
    2. What a worker said before its reply is heard before the reply is believed.
    3. The loop is never held up for longer than it takes to copy four MiB.

Knows both sides of a loan and the control channel. Does not know calls or processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, get_args

import attrs
import trio

from .._wire import Notify, encode_notify
from ..worker._borrower import Borrower, loan_from, numbers
from ..worker._large import BYTEARRAY, STEP, VIEW, Large, copying
from ..worker._lender import Lender
from ._control import ControlChannel

__all__ = ["MAX_SHARED", "Buffers", "Sharing", "Transfer", "made"]

IDLE = 30.0
"""Seconds without a large value after which idle segments are dropped."""


Transfer: TypeAlias = Literal["auto", "view", "copy"]
MAX_SHARED = 256 * 1024 * 1024
"""Bytes of shared memory for each worker and direction, unless told otherwise."""


@attrs.frozen
class Sharing:
    """How a runtime's workers share large buffers with the parent.

    Attributes:
        transfer: as what large buffers arrive.
        most: bytes of shared memory for each worker and direction.
    """

    transfer: Transfer
    most: int

    @classmethod
    def of(cls, transfer: Transfer, max_shared: int) -> Sharing | None:
        """What a runtime was asked for; None where nothing is shared, or this system has no such memory.

        Raises:
            TypeError, ValueError: it makes no sense.
        """
        if transfer not in get_args(Transfer):
            raise ValueError(f"transfer is 'auto', 'view' or 'copy', not {transfer!r}")
        if type(max_shared) is not int or max_shared < 0:
            raise ValueError(f"max_shared is in bytes, and 0 or more: {max_shared!r}")
        return cls(transfer, max_shared) if max_shared and hasattr(os, "memfd_create") else None


class Buffers:
    """What one worker shares with us.

    Args:
        control: where segments are announced, and what becomes of loans is told.
        most: bytes of segments each way.

    Attributes:
        over: results whose last view has died, and that the worker does not know of.
    """

    def __init__(self, control: ControlChannel, most: int) -> None:
        self._control = control
        self._lender = Lender(most)
        self._borrower = Borrower(most)
        self.over = self._borrower.over
        self._running: set[int] = set()  # segments lent to calls that were not answered yet
        self._held: set[int] = set()  # segments that the worker says it goes on reading
        self._untold: list[int] = []  # segments that are gone, which the worker has not been told of
        self._used = -math.inf
        self._rest = trio.CancelScope()

    async def lend(self, large: Large) -> list[Any] | None:
        """Put the buffers into a segment; None where there is no room for them.

        Raises:
            ProtocolError: the worker has said something that cannot be true.

        Cancellation: nothing is lent. A checkpoint for every four MiB.
        """
        if not self._lender.idle:
            self.listen()  # some may have been released meanwhile
        segment = self._lender.lend(large.size)
        if segment is None:
            return None
        try:
            for _ in large.fill(segment.memory):
                await trio.lowlevel.checkpoint()
            if segment.descriptor is not None:
                params = {"segment": segment.number, "size": segment.size}
                if not (
                    self._tell_dropped() and self._control.tell("folk.segment", params, segment.descriptor)
                ):
                    self._lender.take_back(segment.number)
                    return None
                segment.announced()
        except BaseException:
            self._lender.take_back(segment.number)
            raise
        self._running.add(segment.number)
        self._touch()
        return large.loan(segment.number)

    def settle(self, number: int) -> None:
        """The call that this segment was lent to has been answered, or was never sent.

        Raises:
            ProtocolError: the worker has said something that cannot be true.
        """
        self.listen()
        self._running.discard(number)
        if number not in self._held:
            self._lender.take_back(number)

    async def borrow(self, loan: Any) -> list[Any]:
        """The buffers that a result came with.

        Raises:
            ProtocolError: there are no such buffers.

        Cancellation: it goes on to its end; the call was answered.
        """
        understood = loan_from(loan)
        if not self._borrower.knows(understood[0]):
            self.listen()
        self._touch()
        return [await made(view, kind) for view, kind in self._borrower.borrow(understood)]

    def release(self) -> bytes:
        """The message about those, to be sent before the next request."""
        return encode_notify("folk.released", self._borrower.sweep())

    def hear(self, message: Notify) -> None:
        """A message that may be about segments.

        Raises:
            ProtocolError: it is, and cannot be true.
        """
        if message.method == "folk.segment":
            assert self._control.descriptors is not None
            self._borrower.announce(message.params, self._control.descriptors.claim())
        elif message.method == "folk.dropped":
            self._borrower.forget(message.params)
        elif message.method == "folk.held":
            self._held.update(numbers(message.method, message.params))
        elif message.method == "folk.released":
            for number in numbers(message.method, message.params):
                self._held.discard(number)
                if number not in self._running:
                    self._lender.take_back(number)

    def listen(self) -> None:
        """Hear what is there already (invariant 2)."""
        self._control.look()

    async def tend(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Be `follow`, and drop idle segments when nothing large has come for a while.

        Raises:
            ProtocolError: as `follow`.

        Cancellation: as `follow`.
        """
        while True:
            with trio.CancelScope(deadline=self._rest.deadline) as self._rest:
                await follow()
                return
            self._rest = trio.CancelScope()
            if self._used + IDLE > trio.current_time():
                self._rest.deadline = self._used + IDLE
            else:
                self._trim()

    def _trim(self) -> None:
        self._lender.trim()
        self._tell_dropped()
        if self.over:
            # a worker that is stuck does not read it, and its memory ends with it
            self._control.tell("folk.released", self._borrower.sweep())
        self._control.tell("folk.trim", None)
        if self._borrower.uses:
            self._touch()  # results that somebody has kept

    def _touch(self) -> None:
        self._used = trio.current_time()
        if self._rest.deadline == math.inf:  # moving it each time would cost more than all the rest
            self._rest.deadline = self._used + IDLE

    def _tell_dropped(self) -> bool:
        self._untold += self._lender.dropped()
        if self._untold and self._control.tell("folk.dropped", self._untold):
            self._untold = []
        return not self._untold

    def close(self) -> None:
        """The worker is gone: let go of all its segments. Views that there are keep their memory."""
        self._lender.close()
        self._borrower.close()


async def made(view: memoryview, kind: int) -> Any:
    """What a caller gets for a buffer."""
    if kind == VIEW:
        return view
    from ..worker._segments import blank, copied

    mutable = kind == BYTEARRAY
    if len(view) <= STEP:
        return copied(view, mutable)
    value, memory = blank(len(view), mutable)
    for _ in copying(memory, view):
        await trio.lowlevel.cancel_shielded_checkpoint()
    return value

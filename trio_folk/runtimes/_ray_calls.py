"""The calls that one worker on Ray was given, in their order: the oldest runs, the others are held, and may come back.

Ray's round trip takes longer than most short calls. A worker that holds the next one begins it meanwhile. What it has
not begun it gives back when asked. What became of those that it held when it died nobody can tell: Ray tells no
reply's order, and the dead worker's last ones may be lost. So they end as the one that ran.

Invariants
    1. A call was either begun or given back, and the worker said which.
    2. Calls begin, for their clocks, in their order.

Knows promises and msgids. Does not know frames, nor how a worker is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final

import trio

from .._errors import ProtocolError
from ._ray_bridge import Promise

__all__ = ["RayCall", "RayCalls"]

GIVEN_BACK: Final = object()
"""What a promise holds whose call was given back."""
LEAST = 0.001
"""Seconds that a call takes through Ray, whatever it does; so a pool gives calls ahead only where it was told to."""


class RayCall:
    """One call that is not over.

    Attributes:
        promise: of its reply.
        recalled: whether the worker was asked to give it back, and has not said that it is too late.
        settled: set when the worker has said which, or the call is over.
    """

    __slots__ = ("_begun", "promise", "recalled", "settled")

    def __init__(self, promise: Promise, begun: Callable[[], object] | None) -> None:
        self.promise = promise
        self._begun = begun
        self.recalled = False
        self.settled: trio.Event | None = None

    @property
    def given_back(self) -> bool:
        """Whether it was: the worker says so, and answers nothing when its turn comes; either may be here first."""
        value = self.promise.value
        return value is GIVEN_BACK or (self.recalled and type(value) is bytes and not value)

    def begin(self) -> None:
        """The worker begins with it."""
        if self._begun is not None:
            self._begun()
            self._begun = None

    def settle(self) -> None:
        """It is known what becomes of it."""
        if self.settled is not None:
            self.settled.set()


class RayCalls:
    """All of one worker's calls.

    Args:
        revoke: asks the worker to give these back.
    """

    def __init__(self, revoke: Callable[[list[int]], object]) -> None:
        self._revoke = revoke
        self._calls: dict[int, RayCall] = {}  # oldest first
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, msgid: int, promise: Promise, begun: Callable[[], object] | None) -> RayCall:
        """It was sent."""
        call = self._calls[msgid] = RayCall(promise, begun)
        if len(self._calls) == 1:
            self._since = perf_counter()
            call.begin()
        return call

    def remove(self, msgid: int) -> float:
        """It is over; returns the seconds since the one before it was."""
        self._calls.pop(msgid).settle()
        for oldest in self._calls.values():
            oldest.begin()
            break
        now = perf_counter()
        took, self._since = now - self._since, now
        return max(took, LEAST)

    def recall(self) -> bool:
        """Ask for those that are held; whether there are any."""
        msgids = [msgid for msgid, call in list(self._calls.items())[1:] if not call.recalled]
        for msgid in msgids:
            self._calls[msgid].recalled = True
        if msgids:
            self._revoke(msgids)
        return bool(msgids)

    async def have_back(self, msgid: int, seconds: float) -> bool:
        """Whether this call was given back; asked for, if it is held, for so long.

        Cancellation: shielded, for so long.
        """
        call = self._calls[msgid]
        if next(iter(self._calls)) == msgid and not call.recalled:
            return False
        call.settled = trio.Event()
        if not call.recalled:
            call.recalled = True
            self._revoke([msgid])
        with trio.move_on_after(seconds, shield=True):
            await call.settled.wait()
        return call.given_back

    def take_back(self, given_back: Iterable[int], late: Iterable[int]) -> None:
        """The worker has not begun the first, and never will; with the others it has.

        Raises:
            ProtocolError: it gives back what nobody asked for.
        """
        for msgid in given_back:
            call = self._calls.get(msgid)
            if call is None:
                continue  # the worker was ended meanwhile
            if not call.recalled:
                raise ProtocolError(f"it gives back call {msgid}, which nobody asked for")
            call.promise.keep(GIVEN_BACK)
            call.settle()
        for msgid in late:
            call = self._calls.get(msgid)
            if call is not None:
                call.recalled = False
                call.settle()

    def cut(self, *, held: bool) -> None:
        """The oldest has no reply to wait for any more; those that are held neither, or they may yet come back."""
        for number, call in enumerate(list(self._calls.values())):
            if number == 0 or held:
                call.promise.keep(None)
                call.settle()

    async def wait_settled(self, seconds: float) -> None:
        """Return when no call waits to be given back, or after so long."""
        with trio.move_on_after(seconds):
            for call in list(self._calls.values()):
                if call.recalled and not call.promise.kept.is_set():
                    await call.promise.kept.wait()

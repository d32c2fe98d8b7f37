"""The bridge: what Ray's threads learn comes to trio, many results with one wake-up.

A thread for each call costs more than the call, and waking trio for each result costs a system call. So Ray's own
thread leaves the result here, and only the first of several wakes the loop.

Knows promises and trio's entry from other threads. Does not know what was promised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from . import _ray_api as api

__all__ = ["Bridge", "Promise", "current_bridge"]


class Promise:
    """A result that is on its way.

    Attributes:
        kept: set when it has come, or nobody waits for it any more.
        value: what came; the exception, where Ray says that nothing will.
    """

    __slots__ = ("_ref", "kept", "value")

    def __init__(self) -> None:
        self.kept = trio.Event()
        self.value: Any = None
        self._ref: Any = None

    def hold(self, ref: Any) -> None:
        """Keep Ray's reference: without one Ray forgets the result."""
        self._ref = ref

    def keep(self, value: Any) -> None:
        """It has come."""
        if not self.kept.is_set():
            self.value = value
            self._ref = None
            self.kept.set()


class Bridge:
    """From Ray's threads into this run of trio."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._arrived: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._woken = False

    def promise(self, ref: Any) -> Promise:
        """The promise for a reference of Ray's."""
        promise = Promise()
        promise.hold(ref)
        self.watch(ref, promise.keep)
        return promise

    def watch(self, ref: Any, told: Callable[[Any], object]) -> None:
        """Have a function called in trio's thread with the result, which must be kept referred to until then."""
        api.when_done(ref, partial(self._arrive, told))

    def _arrive(self, told: Callable[[Any], object], value: Any) -> None:
        """In a thread of Ray's."""
        self._arrived.append((told, value))
        if not self._woken:
            self._woken = True
            try:
                self._token.run_sync_soon(self._deliver)
            except trio.RunFinishedError:
                return  # nobody is left whom it could matter to

    def _deliver(self) -> None:
        self._woken = False  # before the look: what arrives after it wakes us again
        arrived = self._arrived
        while arrived:
            told, value = arrived.popleft()
            told(value)


_bridge: trio.lowlevel.RunVar[Bridge] = trio.lowlevel.RunVar("trio_folk.ray_bridge")


def current_bridge() -> Bridge:
    """The bridge into this run of trio: one for all its pools, so that they wake it together."""
    try:
        return _bridge.get()
    except LookupError:
        bridge = Bridge()
        _bridge.set(bridge)
        return bridge

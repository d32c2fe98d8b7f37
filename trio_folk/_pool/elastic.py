"""Elastic slots: more workers while calls wait, fewer when nobody needs them.

Growing is quick, for somebody waits: when a call has waited for 5 ms and every slot already serves, the pool
doubles. Shrinking is slow: a slot is given up when its worker has had no call for the whole idle_timeout. A
load that comes and goes faster than that changes nothing, and so nothing flaps.

Nothing is counted on the path of a call. Idleness is sampled, and only while the pool is larger than it need be.

Invariants
    1. Between ``min_slots`` and ``slots`` slots are wanted, or as many as somebody has asked for.
    2. A worker that runs a call is never given up.
    3. No growth while a wanted slot has no worker: more of the same would fail, or is on its way.

Knows the core's queue and slots. Does not know how workers are made.
"""

from __future__ import annotations

import math

import trio

from .core import Core
from .incarnation import Incarnation, Slot

__all__ = ["GROW_AFTER", "grow", "resize"]

GROW_AFTER = 0.005
"""Seconds that a call waits before the pool grows for it."""
SAMPLES = 4
"""How often idleness is looked at within one idle_timeout; a slot is given up at most a quarter late."""


def grow(core: Core, slots: int) -> None:
    """Want so many slots in all, if they are more than now."""
    for slot in core.slots:
        if len(core.wanted()) >= min(slots, core.most):
            return
        if not slot.wanted:
            slot.wanted = True
            slot.asked.set()
            core.sizing.cancel()  # it is larger now: from when on must be looked who is idle?


async def resize(core: Core) -> None:
    """Keep the number of wanted slots in step with the load, until it is cancelled."""
    idle = _Idleness(core)
    while True:
        with trio.move_on_after(idle.pause()) as core.sizing:
            await _wait_for_need(core)
            grow(core, len(core.wanted()) + min(len(core.wanted()), core.dispatch.queued))
        idle.shrink()


async def _wait_for_need(core: Core) -> None:
    """Return when a call has waited too long for slots that all serve, and there could be more."""
    while len(core.wanted()) < core.most:
        waiter = await core.dispatch.crowded()
        await trio.sleep(GROW_AFTER)
        if core.dispatch.waits(waiter) and core.ready() == len(core.wanted()):
            return
    await trio.sleep_forever()  # bounded by the next look at who is idle


class _Idleness:
    """Since when each slot's worker has had nothing to do, as far as samples tell."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._calls: dict[Slot, tuple[Incarnation, int]] = {}
        self._since: dict[Slot, float] = {}

    def pause(self) -> float:
        """Seconds until the next look; none is needed while the pool is as small as it may be."""
        config = self._core.config
        return config.idle_timeout / SAMPLES if len(self._core.wanted()) > self._core.fewest else math.inf

    def shrink(self) -> None:
        """Give up the slots that were idle for long enough, as many as may go."""
        core, now = self._core, trio.current_time()
        for slot in core.wanted():
            self._look(slot, now)
        for slot in core.slots[::-1]:
            if len(core.wanted()) <= core.fewest:
                self._since.clear()
                return
            incarnation = slot.incarnation
            if incarnation is None or incarnation.over or slot not in self._since:
                continue
            if now - self._since[slot] >= core.config.idle_timeout:
                slot.wanted = False
                core.routing.note_gone(slot)
                core.retire(incarnation, f"idle_timeout: no call for {core.config.idle_timeout:g} s")

    def _look(self, slot: Slot, now: float) -> None:
        incarnation = slot.incarnation
        calls = None if incarnation is None or incarnation.load else (incarnation, incarnation.started)
        if calls is None:
            self._since.pop(slot, None)
            self._calls.pop(slot, None)
        elif calls != self._calls.get(slot) or slot not in self._since:
            self._calls[slot], self._since[slot] = calls, now

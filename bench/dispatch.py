"""dispatch: what one call costs as the number of slots grows. Workers are tasks, so only code is timed.

Flat is what it must be: a pool that looks at every slot for every call is invisible with four slots.
"""

from __future__ import annotations

import time

import trio

from bench.interface import Call, Peer, Values
from bench.jobs import echo
from bench.pin import pin

TITLE = "cost of a call from 1 to 512 slots, by one caller or 64; workers are tasks, pinned to one CPU; us"
SLOTS = (1, 8, 64, 512)
COLUMNS = (
    *(f"{slots}, one" for slots in SLOTS),
    *(f"{slots}, 64" for slots in SLOTS),
)
CALLERS = 64
CALLS, SHORT_CALLS = 6400, 640
PAUSE, SHORT_PAUSE = 1.2, 0.0  # seconds: once each worker has lived for `min_uptime`, its supervisor notes it


def measure(peer: Peer, short: bool) -> Values:
    """One pool for each number of slots: one caller after the other, then 64 at once."""
    pin()
    calls, pause = (SHORT_CALLS, SHORT_PAUSE) if short else (CALLS, PAUSE)
    found = {slots: trio.run(_costs, peer, slots, calls, pause) for slots in SLOTS}
    return {
        **{f"{slots}, one": found[slots][0] for slots in SLOTS},
        **{f"{slots}, 64": found[slots][1] for slots in SLOTS},
    }


async def _costs(peer: Peer, slots: int, calls: int, pause: float) -> tuple[float, float]:
    async with peer.open(slots) as call:
        await _cost(call, CALLERS, slots)  # every slot has run something
        await trio.sleep(pause)
        return await _cost(call, 1, calls), await _cost(call, CALLERS, calls)


async def _cost(call: Call, callers: int, calls: int) -> float:
    share = -(-calls // callers)

    async def caller() -> None:
        for _ in range(share):
            await call(echo, b"")

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return (time.perf_counter() - began) / (share * callers) * 1e6

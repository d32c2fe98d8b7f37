"""maps: tiny items a second through two workers, each library batching as it does by itself.

A library that cannot choose its batches is given the size that ours ends with, which suits it best here.
"""

from __future__ import annotations

import time

import trio

from bench.interface import Peer, Values
from bench.pin import pin

TITLE = "abs() of integers, 2 workers; items/s, over all CPUs and pinned to one"
COLUMNS = ("items/s", "pinned")
RATES = COLUMNS  # more of these is better; of all else, less
WORKERS = 2
ITEMS, SHORT_ITEMS = 500_000, 5_000
WARM_UP = 10  # a part of the items so large is mapped before


def measure(peer: Peer, short: bool) -> Values:
    """One pool before this process is pinned, and one after."""
    items = SHORT_ITEMS if short else ITEMS
    found = trio.run(_rate, peer, items)
    pin()
    return {"items/s": found, "pinned": trio.run(_rate, peer, items)}


async def _rate(peer: Peer, items: int) -> float:
    async with peer.open(WORKERS):
        await peer.ready(WORKERS)
        await peer.add_up(abs, range(-items // WARM_UP, 0))
        began = time.perf_counter()
        total = await peer.add_up(abs, range(-items, 0))
        seconds = time.perf_counter() - began
    if total != items * (items + 1) // 2:
        raise RuntimeError(f"the results add up to {total}")
    return items / seconds

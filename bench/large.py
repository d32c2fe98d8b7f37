"""large: the round trip of one large value. For information: one frame holds at most 16 MiB."""

from __future__ import annotations

import statistics
import time

import trio

from bench.interface import Peer, Values
from bench.jobs import echo

TITLE = "8 MiB of bytes there and back, one caller; payload (counted once) per second"
COLUMNS = ("GB/s",)
SIZE = 8 << 20
TIMES, SHORT_TIMES = 20, 2


def measure(peer: Peer, short: bool) -> Values:
    """The median of a few round trips, after one that is not counted."""
    times = trio.run(_round_trips, peer, SHORT_TIMES if short else TIMES)
    return {"GB/s": SIZE / statistics.median(times) / 1e9}


async def _round_trips(peer: Peer, count: int) -> list[float]:
    payload = bytes(SIZE)
    times = []
    async with peer.open(1) as call:
        await call(echo, payload)
        for _ in range(count):
            began = time.perf_counter()
            answer = await call(echo, payload)
            times.append(time.perf_counter() - began)
            if len(answer) != SIZE:
                raise RuntimeError(f"{len(answer)} bytes came back of {SIZE}")
    return times

"""large: the round trip of one large value, as bytes and as an array of numpy's, where that is installed."""

from __future__ import annotations

import statistics
import time
from typing import Any

import trio

from bench.interface import Peer, Values
from bench.jobs import echo

TITLE = "a large value there and back, one caller, one worker; ms"
MIB = 1 << 20
TIMES = {1: 60, 8: 20, 64: 7}
"""How often each size is sent, by its MiB."""
SHORT_TIMES = {1: 3}
COLUMNS = tuple(f"{size} MiB {kind}" for kind in ("bytes", "numpy") for size in TIMES)


def measure(peer: Peer, short: bool) -> Values:
    """The median of some round trips of each size and kind, after two that are not counted."""
    return trio.run(_round_trips, peer, SHORT_TIMES if short else TIMES)


async def _round_trips(peer: Peer, sizes: dict[int, int]) -> Values:
    found: Values = {}
    async with peer.open(1) as call:
        for kind, make in _kinds(peer).items():
            for size, times in sizes.items():
                if size <= peer.largest:
                    found[f"{size} MiB {kind}"] = await _round_trip(call, make(size * MIB), times) * 1e3
    return found


async def _round_trip(call: Any, payload: Any, times: int) -> float:
    taken = []
    for _ in range(times + 2):
        began = time.perf_counter()
        answer = await call(echo, payload)
        taken.append(time.perf_counter() - began)
        if len(answer) != len(payload):
            raise RuntimeError(f"{len(answer)} came back of {len(payload)}")
        del answer  # held any longer, its memory would not be there for the next
    return statistics.median(taken[2:])


def _kinds(peer: Peer) -> dict[str, Any]:
    """What makes a payload of so many bytes, by its kind."""
    kinds: dict[str, Any] = {"bytes": lambda size: b"x" * size}
    if peer.pickles:
        try:
            import numpy
        except ImportError:
            return kinds
        kinds["numpy"] = lambda size: numpy.arange(size // 8, dtype=float)
    return kinds

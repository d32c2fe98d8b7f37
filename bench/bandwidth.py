"""bandwidth: bytes there and back, from 1 KiB to 64 MiB, by one caller and one worker.

What a peer refuses (a frame that is too long for it) is left out of its row: it is a limit, not a failure.
"""

from __future__ import annotations

import statistics
import time

import trio

from bench.interface import Call, Peer, Values
from bench.jobs import echo

TITLE = "bytes there and back, one caller; payload (counted once), MB/s"
SIZES = {"1 KiB": 1 << 10, "16 KiB": 1 << 14, "256 KiB": 1 << 18, "1 MiB": 1 << 20}
SIZES |= {"4 MiB": 1 << 22, "16 MiB": 1 << 24, "64 MiB": 1 << 26}
SHORT_SIZES = ("1 KiB", "1 MiB")
COLUMNS = tuple(SIZES)
RATES = COLUMNS  # more of these is better; of all else, less
FEWEST, SHORT_FEWEST = 3, 1  # round trips of each size, after one that is not counted
DURATION, SHORT_DURATION = 0.2, 0.01  # seconds, if that many are more


def measure(peer: Peer, short: bool) -> Values:
    """The median of each size, smallest first."""
    return trio.run(_sizes, peer, short)


async def _sizes(peer: Peer, short: bool) -> Values:
    fewest, duration = (SHORT_FEWEST, SHORT_DURATION) if short else (FEWEST, DURATION)
    found: Values = {}
    async with peer.open(1) as call:
        for column in SHORT_SIZES if short else SIZES:
            payload = bytes(SIZES[column])
            try:
                await _round_trip(call, payload)
            except Exception:  # each peer has its own error for it, and then none larger is tried
                break
            times = await _round_trips(call, payload, fewest, duration)
            found[column] = SIZES[column] / statistics.median(times) / 1e6
    if not found:
        raise RuntimeError(f"not even {COLUMNS[0]} came back")
    return found


async def _round_trips(call: Call, payload: bytes, fewest: int, duration: float) -> list[float]:
    until = time.perf_counter() + duration
    times: list[float] = []
    while len(times) < fewest or time.perf_counter() < until:
        times.append(await _round_trip(call, payload))
    return times


async def _round_trip(call: Call, payload: bytes) -> float:
    began = time.perf_counter()
    answer = await call(echo, payload)
    seconds = time.perf_counter() - began
    if len(answer) != len(payload):
        raise RuntimeError(f"{len(answer)} bytes came back of {len(payload)}")
    return seconds

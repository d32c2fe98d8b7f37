"""curve: what 1 to 128 concurrent callers get out of two workers, and how long they wait for it.

Where the rate stops growing the callers wait for the workers; where it never grew they wait for the pool.
"""

from __future__ import annotations

import trio

from bench.callers import WORKERS, answers, percentile
from bench.interface import Peer, Values

TITLE = "1 to 128 callers, 2 workers, 100-byte echo; calls/s"
CALLERS = (1, 2, 4, 8, 16, 32, 64, 128)
COLUMNS = tuple(f"{callers} calling" for callers in CALLERS)
RATES = COLUMNS  # more of these is better; of all else, less
WARM_UP, DURATION = 0.05, 0.25  # seconds for each number of callers
SHORT_WARM_UP, SHORT_DURATION = 0.01, 0.02


def measure(peer: Peer, short: bool) -> Values:
    """One pool for all; the percentiles are for the picture, in ms."""
    warm_up, duration = (SHORT_WARM_UP, SHORT_DURATION) if short else (WARM_UP, DURATION)
    return trio.run(_curve, peer, warm_up, duration)


async def _curve(peer: Peer, warm_up: float, duration: float) -> Values:
    found: Values = {}
    async with peer.open(WORKERS) as call:
        for callers, column in zip(CALLERS, COLUMNS, strict=True):
            await answers(call, callers, warm_up)
            found[column], times = await answers(call, callers, duration)
            for percent in (50, 99):
                found[f"{callers}, p{percent}"] = percentile(times, percent) / 1e6
    return found

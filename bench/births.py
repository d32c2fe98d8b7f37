"""births: eight workers, in the first pool of a process and in a second one beside it; and what each takes.

The second pool finds warm whatever its kind of worker keeps: a zygote, a fork server, or nothing. As at boot a
pool's opinion is not what is measured: every worker must have answered a call. Only for pools that can tell
when their workers are ready there is that too, for that is what trio_folk promises.
"""

from __future__ import annotations

import statistics
import time

import trio

from bench.boot import MANY, all_answer
from bench.interface import Peer, Values
from bench.usage import pss

TITLE = (
    "8 workers that each answered a call: a first pool (cold), a second beside it (warm), ms; PSS each, MB"
)
COLUMNS = ("cold", "warm", "ready, cold", "ready, warm", "PSS")
TIMES = 5


def measure(peer: Peer, short: bool) -> Values:
    """One first pool; the median of a few second pools, one after another."""
    return trio.run(_births, peer, 1 if short else TIMES)


async def _births(peer: Peer, times: int) -> Values:
    began = time.perf_counter()
    async with peer.open(MANY) as call:
        ready = await _ready(peer, began)
        pids = await all_answer(call, MANY)
        found: Values = {"cold": _ms_since(began), **({"ready, cold": ready} if ready else {})}
        found["PSS"] = statistics.mean(map(pss, pids))
        warm = [await _second(peer) for _ in range(times)]
    for column in warm[0]:
        found[column] = statistics.median(float(each[column]) for each in warm)
    return found


async def _second(peer: Peer) -> Values:
    began = time.perf_counter()
    async with peer.open(MANY) as call:
        ready = await _ready(peer, began)
        await all_answer(call, MANY)
        return {"warm": _ms_since(began), **({"ready, warm": ready} if ready else {})}


async def _ready(peer: Peer, began: float) -> float | None:
    return _ms_since(began) if await peer.ready(MANY) else None


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3

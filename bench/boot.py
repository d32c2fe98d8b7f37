"""boot: from nothing to so many workers that have each answered a call.

Asking a pool whether it is ready would measure its opinion. Every worker is made to run a call at the
same time (each holds its worker until all have arrived), so that all of them must really be there.
"""

from __future__ import annotations

import time

import trio

from bench import jobs
from bench.interface import Call, Peer, Values
from bench.rendezvous import open_rendezvous

TITLE = "first pool of a process, until each worker has answered a call; ms"
COLUMNS = ("1 worker", "8 workers")
MANY = 8


def measure(peer: Peer, short: bool) -> Values:
    """One pool of one and one pool of eight, each in an event loop of its own."""
    return {"1 worker": trio.run(_boot, peer, 1), "8 workers": trio.run(_boot, peer, MANY)}


async def _boot(peer: Peer, workers: int) -> float:
    began = time.perf_counter()
    async with peer.open(workers) as call:
        await all_answer(call, workers)
        return (time.perf_counter() - began) * 1e3


async def all_answer(call: Call, workers: int) -> set[int]:
    """Return when so many different workers have each answered a call; their pids."""
    with open_rendezvous() as rendezvous:
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(call, jobs.arrive, rendezvous.directory)
            pids = await rendezvous.arrivals(workers)
            rendezvous.let_go(workers)
        return pids

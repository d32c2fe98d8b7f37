"""death: SIGKILL the only worker; how long until the next answer, and which calls are lost with it.

Two pools. In the first the worker is idle when it dies, and the caller goes on asking; a pool that
fails twice running is given up and made anew, as its user would have to. In the second, ten
calls are pending when the worker dies in the first of them.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import AsyncExitStack

import trio

from bench import jobs
from bench.interface import Call, Peer, Values
from bench.rendezvous import open_rendezvous

TITLE = "SIGKILL the only worker"
COLUMNS = ("next answer, ms", "failed before it", "same pool", "lost of 10 pending", "unanswered of 10")
LIMIT = 40  # seconds for all of it: one peer waits for its dead worker for ever
LIFETIME, SHORT_LIFETIME = 1.5, 0.0  # seconds it lives before: a death in the first second is a crash loop
GIVE_UP = 2  # failures in a row, after which the pool is made anew
ATTEMPTS = 20
PENDING = 10
PATIENCE = 15.0  # seconds for the pending calls to end


def measure(peer: Peer, short: bool) -> Values:
    """An idle death, then a death with calls pending."""
    return {
        **trio.run(_killed_idle, peer, SHORT_LIFETIME if short else LIFETIME),
        **trio.run(_killed_busy, peer),
    }


async def _killed_idle(peer: Peer, lifetime: float) -> Values:
    async with AsyncExitStack() as pools:
        call = await pools.enter_async_context(peer.open(1))
        pid = await call(jobs.pid)
        await trio.sleep(lifetime)
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        failed = 0
        while not await _answers(call):
            failed += 1
            if failed == GIVE_UP:
                call = await pools.enter_async_context(peer.open(1))
            if failed == ATTEMPTS:
                raise RuntimeError(f"no answer in {ATTEMPTS} attempts after the worker was killed")
        return {
            "next answer, ms": (time.perf_counter() - began) * 1e3,
            "failed before it": failed,
            "same pool": "yes" if failed < GIVE_UP else "made anew",
        }
    raise AssertionError("no pool swallows what its block raises")


async def _answers(call: Call) -> bool:
    try:
        await call(jobs.echo, b"")
    except Exception:  # each peer has its own error for it
        return False
    return True


async def _killed_busy(peer: Peer) -> Values:
    answered: list[bool] = []

    async def one(call: Call, directory: str) -> None:
        try:
            await call(jobs.nap, directory)
        except Exception:  # as above
            answered.append(False)
        else:
            answered.append(True)

    with open_rendezvous() as rendezvous:
        async with peer.open(1) as call:
            with trio.move_on_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for _ in range(PENDING):
                        nursery.start_soon(one, call, rendezvous.directory)
                    [pid] = await rendezvous.arrivals(1)
                    os.kill(pid, signal.SIGKILL)
    return {"lost of 10 pending": answered.count(False), "unanswered of 10": PENDING - len(answered)}

"""cancel: from the cancellation of a running job to the next answer, where there is only one slot.

The job is a pure-Python ``while True``. Whether a peer stops it is tried, not believed: where no answer
comes, the job still holds the only worker, and the table says so.
"""

from __future__ import annotations

import os
import signal
import statistics
import time

import trio

from bench import jobs
from bench.interface import Call, Peer, Values
from bench.rendezvous import Rendezvous, open_rendezvous

TITLE = "cancel a running `while True`, to the next answer of the only worker; ms"
COLUMNS = ("next answer",)
PATIENCE = 20.0  # seconds, for peers that claim to stop a job
DOUBT, SHORT_DOUBT = 2.0, 0.3  # seconds, for peers that do not
TIMES = 5


def measure(peer: Peer, short: bool) -> Values:
    """The median of a few cancellations of one pool, or "never" with the time that was waited."""
    doubt = SHORT_DOUBT if short else DOUBT
    peer.end_at_once()
    patience = PATIENCE if peer.cancellable else doubt
    times = trio.run(_cancellations, peer, 1 if short else TIMES, patience)
    if times is None:
        return {"next answer": f"never (in {patience:g} s)"}
    return {"next answer": statistics.median(times) * 1e3}


async def _cancellations(peer: Peer, times: int, patience: float) -> list[float] | None:
    found: list[float] = []
    with open_rendezvous() as rendezvous:
        async with peer.open(1) as call:
            while len(found) < times:
                seconds = await _cancellation(call, rendezvous, patience)
                if seconds is None:
                    return None
                found.append(seconds)
    return found


async def _cancellation(call: Call, rendezvous: Rendezvous, patience: float) -> float | None:
    async with trio.open_nursery() as nursery:
        job = await nursery.start(_doomed, call, rendezvous.directory)
        [pid] = await rendezvous.arrivals(1)
        began = time.perf_counter()
        job.cancel()
        with trio.move_on_after(patience):
            await call(jobs.echo, b"")
            return time.perf_counter() - began
    os.kill(pid, signal.SIGKILL)  # still spinning: the pool could not be closed
    return None


async def _doomed(
    call: Call, directory: str, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await call(jobs.spin, directory)

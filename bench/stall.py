"""stall: for how long the event loop stands still while eight workers are born.

Eight interpreters that start on two CPUs delay every process of the machine, so the number means
something only beside its floor: the same pool opened by another process, while this loop looks on.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import trio

from bench.boot import MANY, all_answer
from bench.interface import Peer, Values

TITLE = "longest stall of the event loop while 8 workers are born, the median of nine; ms"
COLUMNS = ("here", "in another process")
TICK = 0.0005  # seconds
TURNS = 9
LIMIT = 30  # seconds for the other process


def measure(peer: Peer, short: bool) -> Values:
    """By turns with the pool in this loop and with the pool elsewhere: one longest stall says little, the median of
    several says more."""
    here, elsewhere = [], []
    for _ in range(1 if short else TURNS):
        here.append(trio.run(_spawned_here, peer))
        elsewhere.append(trio.run(_spawned_elsewhere, peer))
    return {"here": statistics.median(here) * 1e3, "in another process": statistics.median(elsewhere) * 1e3}


class _Watch:
    """The longest time by which a sleep of one tick came late."""

    longest = 0.0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            began = time.perf_counter()
            await trio.sleep(TICK)
            self.longest = max(self.longest, time.perf_counter() - began - TICK)


async def _spawned_here(peer: Peer) -> float:
    watch = _Watch()
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.run)
        async with peer.open(MANY) as call:
            await all_answer(call, MANY)
            nursery.cancel_scope.cancel()
    return watch.longest


async def _spawned_elsewhere(peer: Peer) -> float:
    command = [sys.executable, "-m", "bench.cell", "bench.stall", "elsewhere", peer.name, str(LIMIT)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watch = _Watch()
    try:
        await _hear(process, b"loaded")
        async with trio.open_nursery() as nursery:
            await nursery.start(watch.run)
            await _tell(process, b"go\n")
            await _hear(process, b"ready")
            nursery.cancel_scope.cancel()
        await process.wait()
    finally:
        process.kill()
    return watch.longest


async def _hear(process: trio.Process, word: bytes) -> None:
    assert process.stdout is not None  # a pipe was asked for
    said = b""
    while word not in said:
        more = await process.stdout.receive_some()
        if not more:
            raise RuntimeError(f"the other process ended with {said!r} where {word!r} was expected")
        said += more


async def _tell(process: trio.Process, line: bytes) -> None:
    assert process.stdin is not None  # as above
    await process.stdin.send_all(line)


def elsewhere(peer: Peer, short: bool) -> Values:
    """The other process: say when it is loaded, open the pool when told, say when it is there."""
    print("loaded", flush=True)
    sys.stdin.readline()
    trio.run(_open_and_say, peer)
    return {}


async def _open_and_say(peer: Peer) -> None:
    async with peer.open(MANY) as call:
        await all_answer(call, MANY)
        print("ready", flush=True)

"""What bench/cancels.py measures: from a cancellation to whatever must follow it.

A call is cancelled once it has told through a `Rendezvous` that it runs. Deaths are seen by pidfd, by whoever looks:
the pool reaps its worker meanwhile, and init the child.

Knows the public names of trio_folk. Does not know tables.
"""

from __future__ import annotations

import operator
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

import trio_folk
from bench.interface import Values
from bench.rendezvous import Rendezvous, open_rendezvous
from trio_folk.abc import Runtime

TIMES, SHORT_TIMES = 7, 1  # cancellations of one pool
LIMIT = 120.0  # seconds for one cell
GRACE = 0.2  # seconds; what a job that does not listen is given
TERMINATE_GRACE = 0.5  # seconds, instead of 5: nobody wants to wait longer for the worst row
SETTLE = 0.02  # seconds; a job that has told its pid is in its loop by then
SLOTS, CALLERS = 4, 64
CALLS, SHORT_CALLS = 2_000, 200  # answered, in each turn
TURNS = 10  # without cancellations and with, by turns
WITHDRAWN = 10  # one more is cancelled while it waits, for so many answered
AIMS = {"spawned": 35.0, "forked": 5.0, "with a spare": 1.0}  # ms, from the cancellation to the next answer

_ENV = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def spawned(target: str) -> Runtime:
    """Each worker is an interpreter that imports the code."""
    return trio_folk.PipeRuntime.python(f"bench.cancels_worker:{target}", env=_ENV)


def forked(target: str) -> Runtime:
    """Each worker is a fork of a zygote that has."""
    return trio_folk.ForkRuntime(f"bench.cancels_worker:{target}", env=_ENV)


WAYS: dict[str, Callable[[str], Runtime]] = {"spawned": spawned, "forked": forked}


@attrs.frozen
class Cancelled:
    """One cancellation, by `time.perf_counter`.

    Attributes:
        at: when it was asked for.
        gone_on: when the caller went on.
        pids: who had told that it runs.
        deaths: when each of them was seen dead, if that was waited for.
    """

    at: float
    gone_on: float
    pids: list[int]
    deaths: dict[int, float]


async def cancel(
    pool: trio_folk.WorkerPool, method: str, rendezvous: Rendezvous, *, processes: int = 1, die: bool = False
) -> Cancelled:
    """Call a method, cancel the call when it runs, and return when its caller has gone on.

    Args:
        processes: how many pids it tells.
        die: wait until they are dead, too.
    """
    gone_on = 0.0
    deaths: dict[int, float] = {}

    async def call(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        nonlocal gone_on
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await pool.execute(method, [rendezvous.directory])
        gone_on = time.perf_counter()

    async with trio.open_nursery() as nursery:
        scope = await nursery.start(call)
        pids = sorted(await rendezvous.arrivals(processes))
        for each in pids if die else ():
            nursery.start_soon(_note_death, each, deaths)
        await trio.sleep(SETTLE)
        at = time.perf_counter()
        scope.cancel()
    return Cancelled(at, gone_on, pids, deaths)


async def _spared(pool: trio_folk.WorkerPool, spares: int) -> None:
    while pool.statistics().spares < spares:  # noqa: ASYNC110  # no event says that a spare is ready again
        await trio.sleep(0.01)


async def _note_death(pid: int, deaths: dict[int, float]) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
        deaths[pid] = time.perf_counter()
    finally:
        os.close(descriptor)


# -- the cells


async def next_answer(way: str, *, spares: int, short: bool) -> Values:
    """A loop is cancelled, nobody is asked; when the only slot answers again."""
    config = trio_folk.PoolConfig(slots=1, spares=spares, cancel_grace=0, budget=_BUDGET, min_uptime=0)
    gone_on, answers = [], []
    with trio.fail_after(LIMIT), open_rendezvous() as rendezvous:
        async with trio_folk.open_pool(WAYS[way]("sync"), config=config, name="bench") as pool:
            for _ in range(SHORT_TIMES if short else TIMES):
                await _spared(pool, spares)
                done = await cancel(pool, "loops", rendezvous)
                await pool.execute("pid")
                answers.append(time.perf_counter() - done.at)
                gone_on.append(done.gone_on - done.at)
    return {
        "caller goes on": statistics.median(gone_on) * 1e3,
        "next answer": statistics.median(answers) * 1e3,
        "next answer / aim": statistics.median(answers) * 1e3 / AIMS["with a spare" if spares else way],
    }


async def cooperative(way: str, target: str, method: str, *, short: bool) -> Values:
    """A job that listens is cancelled; when its caller goes on, and who answers next."""
    config = trio_folk.PoolConfig(slots=1, cancel_grace=LIMIT)
    gone_on, answers, same = [], [], []
    with trio.fail_after(LIMIT), open_rendezvous() as rendezvous:
        async with trio_folk.open_pool(WAYS[way](target), config=config, name="bench") as pool:
            for _ in range(SHORT_TIMES if short else TIMES):
                done = await cancel(pool, method, rendezvous)
                same.append([await pool.execute("pid")] == done.pids)
                answers.append(time.perf_counter() - done.at)
                gone_on.append(done.gone_on - done.at)
    return {
        "caller goes on": statistics.median(gone_on) * 1e3,
        "most": max(gone_on) * 1e3,
        "next answer": statistics.median(answers) * 1e3,
        "same worker": "yes" if all(same) else "no",
    }


async def stubborn(way: str, method: str, *, short: bool) -> Values:
    """A job that does not listen is cancelled; how long after the grace it and its child are dead."""
    config = trio_folk.PoolConfig(
        slots=1, cancel_grace=GRACE, terminate_grace=TERMINATE_GRACE, budget=_BUDGET, min_uptime=0
    )
    gone_on, workers, children = [], [], []
    with trio.fail_after(LIMIT), open_rendezvous() as rendezvous:
        async with trio_folk.open_pool(WAYS[way]("sync"), config=config, name="bench") as pool:
            for _ in range(SHORT_TIMES if short else TIMES):
                worker = await pool.execute("pid")
                done = await cancel(pool, method, rendezvous, processes=2, die=True)
                over = done.at + GRACE
                workers.append(done.deaths[worker] - over)
                children += [moment - over for pid, moment in done.deaths.items() if pid != worker]
                gone_on.append(done.gone_on - over)
    return {
        "caller goes on": statistics.median(gone_on) * 1e3,
        "worker dead": statistics.median(workers) * 1e3,
        "its child dead": statistics.median(children) * 1e3,
        "both dead / aim": statistics.median(map(max, workers, children)) * 1e3 / 5,
    }


async def throughput(way: str, *, short: bool) -> Values:
    """Short calls on four slots by 64 callers: in peace and while some that wait are cancelled, by turns."""
    calls = SHORT_CALLS if short else CALLS
    cancels = calls // WITHDRAWN
    peace, busy, withdrawn = [], [], 0
    with trio.fail_after(LIMIT):
        async with trio_folk.open_pool(WAYS[way]("sync"), slots=SLOTS, name="bench") as pool:
            await pool.wait_ready(SLOTS)
            await _answered(pool, calls, 0)  # warm
            before = _given(pool)
            for _ in range(TURNS):
                peace.append((await _answered(pool, calls, 0))[0])
                seconds, count = await _answered(pool, calls, cancels)
                busy.append(seconds)
                withdrawn += count
            ran = _given(pool) - before
            running = pool.statistics().cancelled
    return {
        "calls/s": calls / statistics.median(peace),
        "calls/s, some withdrawn": calls / statistics.median(busy),
        "with / without": statistics.median(map(operator.truediv, peace, busy)),
        "withdrawn": withdrawn,
        "of those ran": ran - 2 * calls * TURNS - (cancels * TURNS - withdrawn),
        "running cancelled": running,
    }


def _given(pool: trio_folk.WorkerPool) -> int:
    """How many calls the workers were given, as they were counted there."""
    return sum(slot.jobs for slot in pool.statistics().slots)


async def _answered(pool: trio_folk.WorkerPool, calls: int, cancels: int) -> tuple[float, int]:
    """The seconds that so many calls take, beside so many more that are cancelled in the queue; those that were."""
    left, due, withdrawn = calls, cancels, 0

    async def caller() -> None:
        nonlocal left, due, withdrawn
        while left > 0:
            left -= 1
            if due and left % (calls // cancels) == 0:
                due -= 1
                # at once, and yet in the queue: some sixty others wait before it
                with trio.CancelScope(deadline=trio.current_time()) as scope:
                    await pool.execute("pid")
                withdrawn += scope.cancelled_caught
            await pool.execute("pid")

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)
    return time.perf_counter() - began, withdrawn


_BUDGET = trio_folk.SpawnBudget(100_000, 30)  # killing is what is measured, not what comes of too much of it

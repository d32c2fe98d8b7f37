"""A program that does nothing but send large buffers, until somebody kills it: ``python buffers_parent.py``.

It prints its workers' pids, once, and then a line for every hundredth transfer.
"""

from __future__ import annotations

import os
import random

import transfer_jobs as jobs
import trio

from trio_folk import PipeRuntime, WorkerPool, open_pool

SLOTS = 2


async def send(pool: WorkerPool, results: list[object]) -> None:
    number = 0
    while True:
        number += 1
        view = memoryview(jobs.pattern(number, random.randrange(300_000, 2_000_000)))
        results.append(await pool.run_sync(jobs.work, view, number))
        del results[:-3]
        if number % 5 == 0:
            print("sent", flush=True)


async def main() -> None:
    async with open_pool(PipeRuntime.python(), slots=SLOTS) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(SLOTS)
        print(*{slot.pid for slot in pool.statistics().slots}, os.getpid(), flush=True)
        for _ in range(SLOTS):
            nursery.start_soon(send, pool, [])


trio.run(main)

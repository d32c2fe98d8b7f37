"""A program whose pool is administered: it calls all the time, until SIGTERM. Says its socket when the pool is ready.

served_program.py SOCKET SLOTS
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

import trio

from trio_folk import FolkError, PipeRuntime, PoolConfig, SpawnBudget, WorkerPool, admin, open_pool


class Greeter(admin.Plugin):
    """One method, for `trio-folk admin call`."""

    name = "greeter"

    def methods(self):
        return {"greet": self.greet}

    async def greet(self, params: object) -> object:
        return {"hello": params, "pid": os.getpid()}


async def call(pool: WorkerPool) -> None:
    while True:
        try:
            await pool.run_sync(time.sleep, 0.02)
        except FolkError:
            await trio.sleep(0.02)


async def main(path: str, slots: int) -> None:
    config = PoolConfig(slots=slots, budget=SpawnBudget(1000, 30), min_uptime=0)
    async with (
        open_pool(PipeRuntime.python(), config=config, name="thumbs") as pool,
        admin.open_plugins(pool, [Greeter()]) as plugins,
        trio.open_nursery() as nursery,
    ):
        await pool.wait_ready(slots)
        await nursery.start(partial(admin.serve, pool, path, plugins=plugins))
        for _ in range(2):
            nursery.start_soon(call, pool)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            print(path, flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


trio.run(main, sys.argv[1], int(sys.argv[2]))

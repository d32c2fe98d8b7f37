"""The program: it works until Ctrl-C or SIGTERM, and may be looked at and steered meanwhile."""

import signal
import sys
from functools import partial

import trio

import trio_folk
from trio_folk import admin


class Counter(admin.Plugin):
    """How many results there were: `trio-folk admin call counter.read`."""

    name = "counter"

    def __init__(self):
        self.results = 0

    async def shutdown(self):
        print(self.results, "results", flush=True)

    def methods(self):
        return {"read": self.read}

    async def read(self, params):
        return {"results": self.results}


async def work(pool, counter):
    number = 0
    while True:
        number += 1
        try:
            await pool.execute("resize", {"number": number})
            counter.results += 1
        except trio_folk.WorkerDied as error:
            print(error.message, file=sys.stderr)


async def main(socket=None):
    runtime = trio_folk.PipeRuntime.python("examples.administered.jobs:worker")
    config = trio_folk.PoolConfig(slots=4, max_jobs=1000, min_uptime=0, budget=trio_folk.SpawnBudget(100, 30))
    counter = Counter()
    async with (
        trio_folk.open_pool(runtime, config=config, name="thumbs") as pool,
        admin.open_plugins(pool, [counter]) as plugins,
        trio.open_nursery() as nursery,
    ):
        path = await nursery.start(partial(admin.serve, pool, socket, plugins=plugins))
        print("administered on", path, flush=True)
        for _ in range(5):
            nursery.start_soon(work, pool, counter)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])

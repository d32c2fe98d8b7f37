"""The program: one worker on this machine, and two on Ray while there is more to do than that one can."""

import collections
import sys
from pathlib import Path

import trio

import trio_folk

HERE = Path(__file__).parent
TARGET = "ray_overflow.jobs:worker"
NEAR, FAR = 1, 2


async def main(address=None, calls=200):
    near = trio_folk.PipeRuntime.python(TARGET, env={"PYTHONPATH": str(HERE.parent)})
    far = trio_folk.RayRuntime(TARGET, address=address, code=[HERE], cpus=0.5, placement="spread")
    config = trio_folk.PoolConfig(slots=NEAR + FAR, min_slots=NEAR, idle_timeout=60)
    done = collections.Counter()

    async def count(pool, below):
        found = await pool.execute("primes", {"below": below})
        done[found["where"]] += 1

    async with trio_folk.open_pool(trio_folk.MixedRuntime((near, NEAR), (far, FAR)), config=config) as pool:
        await count(pool, 1_000)
        print(f"one call, on {pool.statistics().ready} worker: {dict(done)}")
        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                nursery.start_soon(count, pool, 5_000_000)
            await pool.wait_ready(NEAR + FAR)  # calls that wait have started the others
        print(f"{calls} more, on {pool.statistics().ready} workers: {dict(done)}")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])

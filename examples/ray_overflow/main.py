"""The program: more work than one processor should have, on Ray. Without an address it starts one on this machine."""

import sys
from pathlib import Path

import trio

import trio_folk

HERE = Path(__file__).parent


async def main(address=None, slots=2):
    runtime = trio_folk.RayRuntime(
        "ray_overflow.jobs:worker", address=address, code=[HERE], cpus=0.5, placement="spread"
    )
    workers = set()

    async def count(pool, below):
        found = await pool.execute("primes", {"below": below})
        workers.add(found["pid"])
        print(f"{found['count']} primes below {below}")

    async with trio_folk.open_pool(runtime, slots=slots) as pool:
        await pool.wait_ready(slots)
        async with trio.open_nursery() as nursery:
            for below in range(100_000, 1_000_000, 100_000):
                nursery.start_soon(count, pool, below)
    print(f"by {len(workers)} workers")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])

import trio

import trio_folk
from trio_folk.abc import Router


class Spill(Router):
    """A key's own slot, unless three calls are there already: then the slot with the fewest."""

    def __init__(self):
        self._home = trio_folk.ConsistentHash()

    def route(self, key, slots, load):
        home = self._home.route(key, slots, load)
        return home if load(home) < 3 else min(slots, key=load)


async def workers_used(router, calls):
    runtime = trio_folk.PipeRuntime.python("jobs:worker")
    async with trio_folk.open_pool(runtime, slots=3, router=router) as pool:
        await pool.wait_ready(3)
        used = set()

        async def visit():
            answer = await pool.execute("advise", ["Ada"], key="Ada")
            used.add(answer["pid"])

        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                nursery.start_soon(visit)
        return "one worker" if len(used) == 1 else "several workers"


async def main():
    print("by default", await workers_used(None, 9))
    print("few calls, spilling:", await workers_used(Spill(), 3))
    print("many calls, spilling:", await workers_used(Spill(), 9))


trio.run(main)

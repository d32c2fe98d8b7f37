import trio

import trio_folk

CUSTOMERS = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Fay"]


async def main():
    async with trio_folk.open_pool(trio_folk.PipeRuntime.python("jobs:worker"), slots=3) as pool:
        await pool.wait_ready(3)
        loads = 0

        async def visit(customer):
            nonlocal loads
            for _ in range(5):
                answer = await pool.execute("advise", [customer], key=customer)
                loads += answer["loaded"]

        async with trio.open_nursery() as nursery:
            for customer in CUSTOMERS:
                nursery.start_soon(visit, customer)
        print("each history was loaded once:", loads == len(CUSTOMERS))


trio.run(main)

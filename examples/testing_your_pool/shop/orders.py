"""What uses the pool: many orders at once, and an answer for each of them."""

import trio

import trio_folk


async def order_all(pool, items):
    """The receipt of each item; None where the payment took too long, or its worker died."""
    receipts = {}

    async def one(item):
        try:
            receipts[item] = await pool.execute("order", [item], exec_timeout=10)
        except (trio_folk.ExecTimeout, trio_folk.WorkerDied):
            receipts[item] = None

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(one, item)
    return receipts


async def run_shop(runtime, items):
    """Open a pool for these orders; say so where none is to be had."""
    try:
        async with trio_folk.open_pool(runtime, slots=2) as pool:
            return await order_all(pool, items)
    except (trio_folk.SpawnError, trio_folk.CrashLoop):
        return "the shop is closed"

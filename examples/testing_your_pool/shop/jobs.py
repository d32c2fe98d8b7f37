"""What runs in the worker: an order is reserved, paid and confirmed, or nothing of it remains."""

import trio

from trio_folk.worker import Worker

worker = Worker()
reserved = set()


@worker.method
async def order(item):
    """Reserve an item while it is paid for."""
    if not item:
        raise ValueError("order something")
    reserved.add(item)
    try:
        await trio.sleep(1)  # the payment
    finally:
        reserved.discard(item)
    return f"{item}, paid"


@worker.method("reserved")
def list_reserved():
    """What is being paid for in this worker."""
    return sorted(reserved)

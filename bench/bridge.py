"""The bridge from concurrent.futures to trio: await a future without a thread that waits for it.

`trio.to_thread` would hold one thread for each call and measure the threads; the callback of the
future and trio's token cost one wake-up of the loop.

Knows futures and trio's low level. Does not know which executor made the future.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import trio


async def result_of(future: Future[Any]) -> Any:
    """Wait for a future of another thread, and return or raise what it holds.

    Cancellation: the future is cancelled where it has not begun; where it has, it goes on and nobody asks.
    """
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    abandoned = False

    def wake() -> None:
        if not abandoned:
            trio.lowlevel.reschedule(task)

    def finished(_: Future[Any]) -> None:
        with suppress(trio.RunFinishedError):  # a job that outlived its program's interest
            token.run_sync_soon(wake)

    def abort(_: object) -> trio.lowlevel.Abort:
        nonlocal abandoned
        abandoned = True
        future.cancel()
        return trio.lowlevel.Abort.SUCCEEDED

    future.add_done_callback(finished)
    await trio.lowlevel.wait_task_rescheduled(abort)
    return future.result()

"""Bursts of short calls with pauses between them: whatever a pool gives ahead and looks at later, no slot is lost."""

from __future__ import annotations

import os

import trio

from trio_folk import PipeRuntime, open_pool

BOUND = 30.0
SLOTS, CALLERS, BURSTS = 2, 16, 60
PAUSE = 0.004  # seconds: a worker that held calls is looked at once more while nobody calls


async def test_slots_serve_after_any_number_of_bursts() -> None:
    """Each burst is answered, and the pool is idle after it."""
    async with open_pool(PipeRuntime.python(), slots=SLOTS) as pool:
        await pool.wait_ready(SLOTS)
        with trio.fail_after(BOUND):
            for _ in range(BURSTS):
                async with trio.open_nursery() as nursery:
                    for _ in range(CALLERS):
                        nursery.start_soon(pool.run_sync, os.getpid)
                await trio.sleep(PAUSE)
        statistics = pool.statistics()
        assert (statistics.queued, statistics.running, statistics.ready) == (0, 0, SLOTS)

"""A program with a pool of busy workers, to be killed: ``python orphan_parent.py DIRECTORY SLOTS``."""

from __future__ import annotations

import sys

import chaos_jobs
import trio

import trio_folk


async def main(directory: str, slots: int) -> None:
    async with (
        trio_folk.open_pool(trio_folk.PipeRuntime.python(), slots=slots) as pool,
        trio.open_nursery() as nursery,
    ):
        for _ in range(slots):
            nursery.start_soon(pool.run_sync, chaos_jobs.spin_with_a_child, directory)


trio.run(main, sys.argv[1], int(sys.argv[2]))

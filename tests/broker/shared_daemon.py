"""A daemon with a pool of two workers; PICKLE and WINDOW in its environment say how it serves it."""

from __future__ import annotations

import os

import trio

from trio_folk import PipeRuntime, PoolConfig, open_pool
from trio_folk.broker import BackendListener, BrokeredBackend, bootstrap, serve_pool


class Shared(BrokeredBackend):
    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        config = PoolConfig(slots=2, terminate_grace=0.5, min_uptime=0)
        async with open_pool(PipeRuntime.python("shared_jobs:worker"), config=config) as pool:
            await serve_pool(
                pool,
                listener,
                allow_pickle=bool(os.environ.get("PICKLE")),
                window=int(os.environ.get("WINDOW", "64")),
                task_status=task_status,
            )


if __name__ == "__main__":
    trio.run(bootstrap, Shared)

"""The daemon: a pool behind an endpoint. Launched by whoever asks first, gone 30 seconds after the last."""

from __future__ import annotations

import trio

from trio_folk import PipeRuntime, open_pool
from trio_folk.broker import BackendListener, BrokeredBackend, bootstrap, serve_pool


class Words(BrokeredBackend):
    """Two workers, whoever comes."""

    version = "1.0.0"

    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve the pool until cancelled; clients wait while its first worker boots."""
        async with open_pool(PipeRuntime.python("examples.shared_backend.jobs:worker"), slots=2) as pool:
            await serve_pool(pool, listener, task_status=task_status)


if __name__ == "__main__":
    trio.run(bootstrap, Words)

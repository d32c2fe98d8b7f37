"""The daemon: what it is told, it says again. Launched by whoever asks first, gone 30 seconds after the last."""

from __future__ import annotations

import os

import trio

from trio_folk.broker import BackendConnection, BackendListener, BrokeredBackend, bootstrap


class Echo(BrokeredBackend):
    """Says its pid on the first line, then repeats."""

    version = "1.0.0"

    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled. What takes long, e.g. loading a model, would stand before ``started``."""
        task_status.started()
        await listener.serve(echo)


async def echo(connection: BackendConnection) -> None:
    """One client."""
    await connection.send_all(b"%d\n" % os.getpid())
    async for data in connection:
        await connection.send_all(data)


if __name__ == "__main__":
    trio.run(bootstrap, Echo)

"""Plugin: what lives beside a pool for as long as it does, and what it may do when.

Knows words. Does not know the order of several.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from .._pool import WorkerPool

__all__ = ["Method", "Plugin"]

Method = Callable[[Any], Awaitable[Any]]


class Plugin:
    """Something that lives beside a pool: a server, an exporter, a check. Derive from it, and override what is needed.

        class Uptime(admin.Plugin):
            name = "uptime"

            async def boot(self, pool):
                self.began = trio.current_time()

            def methods(self):
                return {"seconds": self.seconds}            # trio-folk admin call uptime.seconds

            async def seconds(self, params):
                return trio.current_time() - self.began

    Attributes:
        name: lower-case letters, digits, ``-`` and ``_``; begins with a letter. Its methods are named after it.
        boot_timeout: seconds for `boot`, and again for `run` until it has started.
        shutdown_timeout: seconds for `shutdown`.
    """

    name: str = ""
    boot_timeout: float = 30.0
    shutdown_timeout: float = 10.0

    async def boot(self, pool: WorkerPool) -> None:
        """Make ready. What it raises stops the program's start; it undoes itself what it had begun.

        Cancellation: as what it raises.
        """
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Do what it is for, from after `boot` until it is cancelled, after `shutdown`. It calls
        ``task_status.started()`` when the next plugin may boot. It may return early; what it raises ends the block.

        Cancellation: it ends.
        """
        task_status.started()
        await trio.lowlevel.checkpoint()

    async def shutdown(self) -> None:
        """Leave in good order, while `run` still runs. Called once for each that has booted, however the block is
        left. What it raises is logged.

        Cancellation: its time is up.
        """
        await trio.lowlevel.checkpoint()

    def methods(self) -> Mapping[str, Method]:
        """What may be called on the admin socket: ``async def method(params)`` by name, without the plugin's.

        What `params` holds was sent by a client and checked by nobody. A result is what MessagePack can hold.
        """
        return {}

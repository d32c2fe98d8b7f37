"""Serving: the socket of some pools, there from when they are seen until they are gone.

Invariants
    1. Only this user, and root, get in: 0600 in a directory of 0700, and the kernel is asked who it is besides.
    2. At most `MOST_CLIENTS` are served; whoever comes then is told so, and costs nothing more.

Knows sockets and sessions. Does not know what may be asked.
Picture: docs/design/admin.md
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import NoReturn

import trio

from .._pool import WorkerPool
from .._pool.background import open_background
from .._wire import encode_notify
from ..broker import BackendConnection, BackendListener
from ._desk import Desk
from ._door import open_door
from ._places import socket_of
from ._plugins import Plugins, no_methods
from ._session import Session
from ._terms import ANSWER_FRAME, MOST_CLIENTS, REFUSED, SEND_TIMEOUT

__all__ = ["serve"]

RETRY_AFTER = 1.0
"""Seconds after which a client that found no room is to ask again."""


async def serve(
    pools: WorkerPool | Iterable[WorkerPool],
    path: str | os.PathLike[str] | None = None,
    *,
    plugins: Plugins | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Let this user see and steer running pools, with `connect`, ``trio-folk admin`` and ``trio-folk top``:

        path = await nursery.start(admin.serve, pool)

    While nobody is connected it waits, and costs nothing; a socket that somebody deletes is put back. It serves until
    it is cancelled: a pool that drains, or that has closed, is still seen.

    Args:
        pools: one, or several whose names differ.
        path: of the socket, absolute; its last directory is made where it is missing, and must be this user's alone.
            By default named for the first pool, where `find_sockets` looks.
        plugins: whose methods are served too, from `open_plugins`.
        task_status: gets the path.

    Raises:
        AlreadyBound: somebody serves there; a socket that its program left behind is replaced instead.
        BindError: it can be no endpoint, or cannot be bound; the error says why.
        SpawnLockError: the lock beside it, ``<path>.lock``, cannot be had.
        ValueError: two pools have the same name.

    Cancellation: what clients asked for is cancelled, they are closed, and the socket is gone. The lock's file stays.
    """
    several = [pools] if isinstance(pools, WorkerPool) else [*pools]
    desk = Desk(several, no_methods if plugins is None else plugins.methods)
    endpoint = socket_of(several[0].name) if path is None else os.fspath(path)
    async with open_door(endpoint) as listener, open_background() as nursery:
        for counter in desk.counters.values():
            await nursery.start(counter.lookout.run)
            nursery.start_soon(counter.pulse.run)
        task_status.started(endpoint)
        await listener.serve(partial(_receive, desk, listener))
    raise AssertionError("a listener serves until it is cancelled")


async def _receive(desk: Desk, listener: BackendListener, connection: BackendConnection) -> None:
    if listener.connections > MOST_CLIENTS:
        told = {"message": f"{MOST_CLIENTS} clients are connected already", "retry_after": RETRY_AFTER}
        with trio.move_on_after(SEND_TIMEOUT):
            await connection.send_all(encode_notify(REFUSED, told, ANSWER_FRAME))
        return
    await Session(desk, connection).run()

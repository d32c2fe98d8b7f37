"""The door: an admin socket's file, there from when it is served until it is not.

Anybody who cleans a directory may delete it, and a pool runs for weeks. So what is missing is put back, and what
somebody else has put in its place is left alone.

Invariants
    1. A socket on which somebody listens is never taken; one that nobody listens on is replaced, under a lock.
    2. The file is removed before the socket is closed, and only if it is ours, so that it is never the next one's.

Knows the file and its socket. Does not know who connects.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from .._errors import BindError, SpawnLockError
from .._pool.background import open_background
from .._spawn import wait_spawn_lock
from ..broker import BackendListener, bind_endpoint
from ..broker._doors import Door
from ._places import lock_of

__all__ = ["open_door"]

LOCK_WAIT = 5.0
"""Seconds to wait for others who bind the same socket; binding takes microseconds."""
MEND_EVERY = 5.0
"""Seconds between two looks at the file."""

_log = logging.getLogger("trio_folk.admin")


@asynccontextmanager
async def open_door(endpoint: str) -> AsyncIterator[BackendListener]:
    """A listener bound there, whose file is looked after.

    Raises:
        BindError, SpawnLockError: it cannot be bound.

    Cancellation: its file is gone, then its socket.
    """
    door = await _bind(endpoint)
    accepting = trio.CancelScope()
    async with open_background() as nursery:
        try:
            listener = await nursery.start(_accept, door, accepting)
            nursery.start_soon(_look_after, door, listener)
            yield listener
        finally:
            door.withdraw()
            accepting.cancel()


async def _bind(endpoint: str) -> Door:
    with await wait_spawn_lock(lock_of(endpoint), timeout=LOCK_WAIT) as lock:
        return Door.open(endpoint, bind_endpoint, lock)


async def _accept(
    door: Door, accepting: trio.CancelScope, *, task_status: trio.TaskStatus[BackendListener]
) -> None:
    """Own the sockets until the file is withdrawn."""
    with accepting:
        async with trio.open_nursery() as nursery:
            listener = BackendListener(nursery)
            listener.open_door(door.sock)
            # Who was cancelled already waits for this task in Nursery.start, and would wait for ever.
            accepting.shield = trio.current_effective_deadline() > -math.inf
            task_status.started(listener)


async def _look_after(door: Door, listener: BackendListener) -> None:
    complained = False
    while True:
        await trio.sleep(MEND_EVERY)
        if door.in_place:
            complained = False
            continue
        try:
            await _mend(door, listener)
            _log.warning("the admin socket was gone, and is there again: %s", door.endpoint)
        except (BindError, SpawnLockError, OSError) as error:
            if not complained:
                _log.warning("the admin socket is gone, and cannot be put back: %s", error)
            complained = True


async def _mend(door: Door, listener: BackendListener) -> None:
    with await wait_spawn_lock(lock_of(door.endpoint), timeout=LOCK_WAIT) as lock:
        before = door.reopen(lock)
        listener.open_door(door.sock)
    await listener.close_door(before)

"""The client: a running pool of another program, seen and steered.

Knows the questions and their answers. Does not know how they travel.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from typing import Any, final

import trio

from .._errors import FolkError
from ._link import Notices, ask, breach, subscribe
from ._places import find_sockets
from ._terms import DRAIN, EVENT, EVENTS, LIST, RECYCLE, RELOAD, SAMPLE, SCALE, STATS, WATCH

__all__ = ["AdminClient", "connect"]


async def connect(path: str | os.PathLike[str] | None = None, *, timeout: float = 5.0) -> AdminClient:
    """A client of the program that serves its pools on this socket; nothing of it has to be closed.

    Args:
        path: of the socket; without it, the only one that `find_sockets` finds.
        timeout: seconds that the program has to say which pools it has.

    Raises:
        FolkError: nobody serves there; or no path was given, and there is not exactly one.
        BackendRefused: another user's, or too many clients are connected.
        trio.TooSlowError: somebody listens, and has not answered.

    Always a checkpoint. Cancellation leaves nothing behind.
    """
    where = _only() if path is None else os.fspath(path)
    with trio.fail_after(timeout):
        told = await ask(where, LIST, {})
    match told:
        case {"pools": [*pools], "pid": int(pid)} if all(
            isinstance(each, dict) and "name" in each for each in pools
        ):
            return AdminClient._of(where, pid, tuple(str(each["name"]) for each in pools))
    raise breach(where, told)


def _only() -> str:
    found = find_sockets()
    if len(found) == 1:
        return found[0]
    raise FolkError(
        f"several programs serve pools: {', '.join(found)}" if found else "no program serves a pool here",
        hint="name the socket that is meant"
        if found
        else "start one with `await nursery.start(admin.serve, pool)`",
    )


@final
class AdminClient:
    """A running program's pools, from `connect`. Each call has a connection of its own, and several may run at once.

    Where the program has one pool it need not be named. Answers are maps of words and numbers, the fields of the
    records that the pool itself would give: `PoolStatistics`, `ReloadReport`, `PoolEvent`.

    Every method raises what the pool's own would, as itself where it is one of `PoolClosed`, ValueError or TypeError,
    and else as a FolkError with its text; a FolkError if the program has gone, and BackendRefused if too many clients
    are connected. None has a timeout: put it into a scope of your own.

    Attributes:
        path: of the socket.
        pid: the program's.
        pools: the names of its pools.
    """

    path: str
    pid: int
    pools: tuple[str, ...]

    def __init__(self) -> None:
        raise TypeError("a client is connected: `client = await admin.connect(path)`")

    @classmethod
    def _of(cls, path: str, pid: int, pools: tuple[str, ...]) -> AdminClient:
        client = object.__new__(cls)
        client.path, client.pid, client.pools = path, pid, pools
        return client

    def __repr__(self) -> str:
        return f"<AdminClient {', '.join(self.pools)} of pid {self.pid}>"

    async def overview(self) -> dict[str, Any]:
        """The program's ``pid``, its ``pools`` in a few numbers each, and the ``methods`` that may be called.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        return await self._ask(LIST)

    async def statistics(self, pool: str | None = None) -> list[dict[str, Any]]:
        """All numbers of each pool, or of this one; ``last_end`` of a slot says how its last worker ended.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        told = await self._ask(STATS, pool=pool)
        match told:
            case {"pools": [*pools]} if all(isinstance(each, dict) for each in pools):
                return pools
        raise breach(self.path, told)

    async def reload(self, pool: str | None = None) -> dict[str, Any]:
        """Let new code take over, as `WorkerPool.reload`, and return its report.

        Always a checkpoint. Cancellation: the reload stops where it is; every slot has a worker that serves.
        """
        return await self._ask(RELOAD, pool=pool)

    async def recycle(self, slot: int, pool: str | None = None) -> str:
        """Replace one slot's worker, as `WorkerPool.recycle`, and return the id of the next.

        Always a checkpoint. Cancellation: it is replaced all the same.
        """
        told = await self._ask(RECYCLE, pool=pool, slot=slot)
        return str(told.get("worker"))

    async def scale(self, slots: int | None, pool: str | None = None) -> int:
        """Want so many slots, as `WorkerPool.scale`, and return how many are; None: the pool's own number.

        Always a checkpoint. Cancellation: it may have been done.
        """
        told = await self._ask(SCALE, pool=pool, slots=slots)
        match told:
            case {"wanted": int(wanted)}:
                return wanted
        raise breach(self.path, told)

    async def drain(self, pool: str | None = None) -> bool:
        """Let the pool take no more calls, as `WorkerPool.drain`; whether all have ended in time.

        Always a checkpoint. Cancellation: the pool stays closed to new calls.
        """
        told = await self._ask(DRAIN, pool=pool)
        return bool(told.get("drained"))

    async def call(self, method: str, params: Any = None) -> Any:
        """Call a method by its name, e.g. a plugin's ``health.check``.

        Raises:
            ApplicationError: the plugin raised that; anything else of it is a FolkError with its text.

        Always a checkpoint. Cancellation: it is cancelled there.
        """
        return await ask(self.path, method, params)

    def events(self, pool: str | None = None) -> AbstractAsyncContextManager[Notices]:
        """What happens to the workers from now on: ``async with client.events() as events``, then ``async for``.

        Each has the fields of a `PoolEvent`, the name of its ``pool``, and how many were ``dropped`` because this
        client did not read.

        Cancellation: nothing more is told.
        """
        return subscribe(self.path, EVENTS, _given(pool=pool), EVENT, self._told(pool))

    def watch(
        self, pool: str | None = None, *, interval: float = 1.0
    ) -> AbstractAsyncContextManager[Notices]:
        """Each pool's statistics every so many seconds: ``async with client.watch() as samples``.

        Beside what `statistics` has: ``rate``, calls that ended a second; ``latency`` and ``wait``, the seconds that
        one ran and had waited, on average, estimated from how many ran and waited. None where nothing ended.

        Args:
            interval: from 0.1 to 3600 seconds.

        Cancellation: nothing more is told.
        """
        return subscribe(self.path, WATCH, _given(pool=pool, interval=interval), SAMPLE, self._told(pool))

    def _told(self, pool: str | None) -> int:
        return len(self.pools) if pool is None else 1

    async def _ask(self, method: str, *, pool: str | None = None, **params: Any) -> dict[str, Any]:
        told = await ask(self.path, method, _given(pool=pool) | params)
        if not isinstance(told, dict):
            raise breach(self.path, told)
        return told


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}

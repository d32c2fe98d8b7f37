"""Connect to a shared pool: the same `execute` and `run_sync`, answered by a daemon that many programs use.

The daemon is started when the first call needs it, and again when it has died. What died with it is told; what had not
been sent is sent to the next one.

Invariants
    1. Each call has one outcome, whatever happens to the daemon.
    2. A call that may have run is sent again only if its caller said that this does no harm.

Knows links and services. Does not know what a pool is made of.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, final

import trio

from .._errors import RemoteError, WorkerDied
from .._pool import MapResults
from .._pool.mapping import open_map
from .._wire import Response
from ..abc import Key
from ._connecting import connect_or_spawn
from ._service import Service
from ._shared_link import Link, LinkBroken, NotSent
from ._shared_map import SharedItems
from ._shared_terms import EXECUTE, RUN_SYNC, rebuild

__all__ = ["SharedPool", "connect_pool"]

T = TypeVar("T")
RERUNS = 2
"""How often an idempotent call is sent again after the daemon's death."""


@asynccontextmanager
async def connect_pool(service: Service, *, allow_pickle: bool = False) -> AsyncIterator[SharedPool]:
    """The pool of this service's daemon, which is started if it does not run: ``async with connect_pool(...) as pool``.

    Args:
        service: which daemon; its program serves a pool with `serve_pool`.
        allow_pickle: load the results and exceptions of `SharedPool.run_sync`, which are pickles that the daemon made.
            Its endpoint belongs to your user, and so does whoever listens there.

    Raises:
        SpawnBudgetExhausted, BackendRefused, BootFailed, BootTimeout, BindError, SpawnLockError: as `connect_or_spawn`;
            here, or from the first call after the daemon has died.

    Entering and leaving are always checkpoints. Cancellation, and leaving the block: calls that run are cancelled in
    the daemon. The daemon goes on, for others.
    """
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        pool = SharedPool._of(service, allow_pickle, nursery)
        try:
            await (await pool._link()).greeted.wait()
            yield pool
        except BaseException as raised:
            error = raised
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


@final
class SharedPool:
    """A pool in a daemon, from `connect_pool`. It has no streams, and its calls do not report their progress."""

    _service: Service
    _allow_pickle: bool
    _nursery: trio.Nursery
    _current: Link | None
    _connecting: trio.Lock

    def __init__(self) -> None:
        raise TypeError("a shared pool is connected to: `async with connect_pool(service) as pool`")

    @classmethod
    def _of(cls, service: Service, allow_pickle: bool, nursery: trio.Nursery) -> SharedPool:
        pool = object.__new__(cls)
        pool._service = service
        pool._allow_pickle = allow_pickle
        pool._nursery = nursery
        pool._current = None
        pool._connecting = trio.Lock()
        return pool

    def __repr__(self) -> str:
        link = self._current
        state = (
            f"connected to {link.hello.get('name')!r}" if link is not None and link.open else "not connected"
        )
        return f"<SharedPool {self._service.name!r}: {state}>"

    async def execute(
        self,
        method: str,
        params: object = None,
        *,
        exec_timeout: float | None = None,
        queue_timeout: float | None = None,
        idempotent: bool = False,
        key: Key | None = None,
        priority: int = 0,
    ) -> Any:
        """Call a named method of a worker; as `WorkerPool.execute`. Nothing is pickled either way.

        Raises:
            WorkerDied: also when the daemon itself died.
            SpawnBudgetExhausted, BackendRefused, BootFailed, BootTimeout: there is no daemon. It never ran.

        Always a checkpoint. Cancellation: reaches the work, through the daemon.
        """
        told: dict[str, object] = {
            "method": method,
            "params": params,
            "exec_timeout": exec_timeout,
            "queue_timeout": queue_timeout,
            "idempotent": idempotent,
            "key": key,
            "priority": priority,
        }
        reply = await self._request(EXECUTE, told, idempotent)
        if reply.error is not None:
            raise rebuild(reply.error)
        return reply.result

    async def run_sync(
        self,
        fn: Callable[..., T],
        *args: Any,
        exec_timeout: float | None = None,
        queue_timeout: float | None = None,
        idempotent: bool = False,
        key: Key | None = None,
        priority: int = 0,
    ) -> T:
        """Run a function in a worker; as `WorkerPool.run_sync`. The daemon imports the function too.

        Raises:
            TypeError: one of the two sides has not allowed pickles, or it cannot be pickled. It never ran.

        Always a checkpoint. Cancellation: as `execute`.
        """
        if not self._allow_pickle:
            raise TypeError("run_sync unpickles what the daemon sends: connect_pool(..., allow_pickle=True)")
        told: dict[str, object] = {
            "call": pickle.dumps((fn, args), 5),
            "exec_timeout": exec_timeout,
            "queue_timeout": queue_timeout,
            "idempotent": idempotent,
            "key": key,
            "priority": priority,
        }
        reply = await self._request(RUN_SYNC, told, idempotent)
        if reply.error is not None:
            raise _original(reply.error) or rebuild(reply.error)
        result: T = pickle.loads(reply.result)
        return result

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        outcomes: bool = False,
        window: int | None = None,
        progress: Callable[[int, int | None], object] | None = None,
        exec_timeout: float | None = None,
        idempotent: bool = False,
        priority: int = 0,
    ) -> AbstractAsyncContextManager[MapResults[Any]]:
        """Run a function over items, lazily; as `WorkerPool.map`, with one item a call.

        Args:
            window: how many items may be taken and not yet handed out; by default twice what the daemon takes of one
                client.

        Raises:
            TypeError: as `run_sync`, for the first item.

        Cancellation, and leaving the block early: what runs is cancelled in the daemon; what waits never runs.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable")
        if window is not None and window < 1:
            raise ValueError(f"window is at least 1 item, not {window}")

        async def call(args: tuple[Any, ...]) -> Any:
            return await self.run_sync(
                fn, *args, exec_timeout=exec_timeout, idempotent=idempotent, priority=priority
            )

        link = self._current
        parallel = link.hello.get("window", 1) if link is not None else 1
        items = SharedItems(call, parallel=parallel, window=window)
        return open_map(iterables, items, ordered=ordered, outcomes=outcomes, progress=progress)

    async def _request(self, method: str, told: dict[str, object], idempotent: bool) -> Response:
        reruns = RERUNS if idempotent else 0
        while True:
            link = await self._link()
            try:
                return await link.request(method, told)
            except NotSent:
                continue  # connect_or_spawn has the budget that bounds this
            except LinkBroken:
                if not reruns:
                    raise WorkerDied(
                        f"the daemon of {self._service.name!r} ended while the call was running",
                        stage="call",
                        hint="it may have run: pass idempotent=True if it may run again",
                    ) from None
                reruns -= 1

    async def _link(self) -> Link:
        """The connection; a new one if the last has ended."""
        async with self._connecting:
            if self._current is None or not self._current.open:
                stream = await connect_or_spawn(self._service)
                link = self._current = Link(stream)
                self._nursery.start_soon(link.run, name=f"connection to {self._service.name}")
            return self._current


def _original(told: Any) -> Exception | None:
    """The exception itself, where it could travel; its traceback is in its notes."""
    pickled = told.get("pickle") if isinstance(told, dict) else None
    if not isinstance(pickled, bytes):
        return None
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None
    return error if isinstance(error, Exception) and not isinstance(error, RemoteError) else None

"""Serve a pool: the daemon's side of a pool that many programs share.

Every call of every client is a call of the pool, under a scope of its own, so what a client cancels is cancelled
here, and what a client leaves behind when it goes is cancelled too.

Invariants
    1. A connection has at most ``window`` calls here; one more is a breach, for the client was told. So it is always
       read on, and a cancellation is never stuck behind calls.
    2. A reply is written whole before the next one begins.
    3. A pickle is loaded only where the owner of the daemon has allowed that.

Knows a pool and connections. Does not know how the daemon came to be.
"""

from __future__ import annotations

import math
import pickle
from functools import partial
from typing import Any, NoReturn

import trio

from .._errors import ProtocolError
from .._pool import WorkerPool
from .._wire import MAX_FRAME, MessageDecoder, Notify, Request, encode_notify, encode_response
from ._listener import BackendConnection, BackendListener
from ._shared_terms import CANCEL, CANCELLED, EXECUTE, HELLO, RUN_SYNC, describe

__all__ = ["serve_pool"]

WINDOW = 64
"""Calls that one client may have in the daemon, unless it is told otherwise."""


async def serve_pool(
    pool: WorkerPool,
    listener: BackendListener,
    *,
    allow_pickle: bool = False,
    window: int = WINDOW,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Let every program that connects use this pool through `connect_pool`; in `BrokeredBackend.serve`:

        async with open_pool(PipeRuntime.python("myapp.jobs:worker")) as pool:
            await serve_pool(pool, listener, task_status=task_status)

    Args:
        pool: whose workers they share.
        listener: where they connect.
        allow_pickle: clients may run any function. Only programs of the same user connect at all.
        window: how many calls each client may have here at a time; its further calls wait on its side.

    Cancellation: what runs for the clients is cancelled, and their connections are closed.
    """
    if window < 1:
        raise ValueError(f"window is at least 1 call, not {window}")
    task_status.started()
    await listener.serve(partial(_serve, pool, allow_pickle, window))


async def _serve(pool: WorkerPool, allow_pickle: bool, window: int, connection: BackendConnection) -> None:
    await _Session(pool, allow_pickle, window, connection).run()


class _Session:
    """One client."""

    def __init__(
        self, pool: WorkerPool, allow_pickle: bool, window: int, connection: BackendConnection
    ) -> None:
        self._pool = pool
        self._allow_pickle = allow_pickle
        self._window = window
        self._connection = connection
        self._calls: dict[int, trio.CancelScope] = {}
        self._writing = trio.Lock()

    async def run(self) -> None:
        hello = {"v": 1, "name": self._pool.name, "window": self._window, "pickle": self._allow_pickle}
        await self._connection.send_all(encode_notify(HELLO, hello))
        decoder = MessageDecoder(MAX_FRAME)
        async with trio.open_nursery() as nursery:
            async for data in self._connection:
                for message in decoder.feed(data):
                    self._take(message, nursery)
                if decoder.error is not None:
                    raise decoder.error
            nursery.cancel_scope.cancel()  # nobody is there any more to want anything

    def _take(self, message: object, nursery: trio.Nursery) -> None:
        if isinstance(message, Notify) and message.method == CANCEL and isinstance(message.params, dict):
            scope = self._calls.get(message.params.get("msgid", 0))
            if scope is not None:
                scope.cancel()
        elif isinstance(message, Request):
            if len(self._calls) >= self._window or message.msgid in self._calls:
                raise ProtocolError(f"a client sent more than {self._window} calls at once")
            scope = self._calls[message.msgid] = trio.CancelScope()
            nursery.start_soon(self._answer, message, scope)

    async def _answer(self, request: Request, scope: trio.CancelScope) -> None:
        frame = b""
        try:
            with scope:
                frame = await self._outcome(request)
            if scope.cancelled_caught:
                told = {"code": CANCELLED, "message": "the call was cancelled"}
                frame = encode_response(request.msgid, told, None)
        finally:
            del self._calls[request.msgid]
        async with self._writing:
            await self._connection.send_all(frame)

    async def _outcome(self, request: Request) -> bytes:
        try:
            result = await self._run(request)
            return encode_response(request.msgid, None, result)
        except Exception as error:
            told = describe(error)
            if request.method == RUN_SYNC:
                told["pickle"] = _pickled(error)
            return encode_response(request.msgid, told, None)

    async def _run(self, request: Request) -> Any:
        told = request.params
        if not isinstance(told, dict):
            raise TypeError("a call's params are a map")
        options: dict[str, Any] = {
            "exec_timeout": told.get("exec_timeout"),
            "queue_timeout": told.get("queue_timeout"),
            "idempotent": bool(told.get("idempotent")),
            "key": _key(told.get("key")),
            "priority": told.get("priority") or 0,
        }
        remaining = told.get("remaining")
        seconds = remaining if isinstance(remaining, int | float) else math.inf
        with trio.CancelScope(deadline=trio.current_time() + seconds):
            if request.method == EXECUTE and isinstance(told.get("method"), str):
                return await self._pool.execute(told["method"], told.get("params"), **options)
            if request.method == RUN_SYNC:
                return await self._run_sync(told.get("call"), options)
            raise TypeError(f"a shared pool has no {request.method!r}")
        raise TimeoutError("the caller's deadline has passed")

    async def _run_sync(self, call: object, options: dict[str, Any]) -> bytes:
        if not self._allow_pickle:
            raise TypeError("this pool takes no functions: its daemon was not told allow_pickle=True")
        if not isinstance(call, bytes):
            raise TypeError("a function comes as bytes")
        fn, args = pickle.loads(call)
        return pickle.dumps(await self._pool.run_sync(fn, *args, **options), 5)


def _key(told: Any) -> Any:
    """A key as it was given: tuples travel as arrays. Whether it is one, the pool says."""
    return tuple(map(_key, told)) if isinstance(told, list) else told


def _pickled(error: Exception) -> bytes | None:
    try:
        pickled = pickle.dumps(error, 5)
        pickle.loads(pickled)
    except Exception:
        return None  # told as text
    return pickled

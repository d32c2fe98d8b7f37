"""The front: an ASGI application whose requests are calls of a pool.

Invariants
    1. Every request gets one response: the application's, or the status that says why there is none.
    2. A response that has begun and cannot go on is cut off, so that nobody takes it for whole.
    3. When a client has gone, its call is cancelled, unless its response was complete.

Knows a pool, and ASGI. Does not know servers, or what runs in the workers.
Picture: docs/design/http.md
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, final

import trio

from .._errors import FolkError
from .._pool import WorkerPool
from ._config import HttpConfig
from ._ear import Ear
from ._reply import Reply
from ._request import ClientGone, Refused, as_handled, understood
from ._response import Head, body_of, head_of, piece_of
from ._statuses import outcome_of

__all__ = ["HANDLE", "IN_REQUEST", "SERVE", "HttpFront"]

SERVE: Literal["http.serve"] = "http.serve"
HANDLE: Literal["http.handle"] = "http.handle"
IN_REQUEST = 65536
"""Bytes of a body that travel with the request; the rest is fed."""

_log = logging.getLogger("trio_folk")

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@final
class HttpFront:
    """An ASGI application that lets the workers of a pool answer: ``HttpFront(pool)``, for any ASGI server under trio.

    Statuses of its own: 503 with Retry-After when the pool is busy, closed or in a crash loop; 504 when a request
    took longer than ``exec_timeout``; 502 when its worker died or gave no response that can be sent; 500 when the
    application raised; 400, 408, 413, 414 and 431 for requests that are not as they should be; 501 for websockets. A
    response that had begun is cut off.

    Args:
        pool: of workers that serve HTTP, e.g. of the runtime that `application` gives.
        config: the limits.
        method: ``"http.serve"`` for those; ``"http.handle"`` for workers in other languages, whose bodies are whole.

    Raises:
        ValueError: there is no such method.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        config: HttpConfig | None = None,
        method: Literal["http.serve", "http.handle"] = SERVE,
    ) -> None:
        if method not in (SERVE, HANDLE):
            raise ValueError(f"method is {SERVE!r} or {HANDLE!r}, not {method!r}")
        self._pool = pool
        self._config = config or HttpConfig()
        self._streams = method == SERVE

    def __repr__(self) -> str:
        return f"<HttpFront of {self._pool!r}>"

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection scope, as ASGI 3 has it.

        Cancellation: the request's call is cancelled, and its connection is for the server to close.
        """
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "websocket":
                await _refuse_websocket(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case kind:
                raise ValueError(f"a scope of type {kind!r:.100} is not HTTP")

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        reply = Reply(send, scope["method"], self._config.send_timeout)
        if self._is_probe(scope):
            await self._probe(scope["path"], reply)
            return
        ear = Ear(receive, self._config.max_body, self._config.body_timeout)

        def gone() -> None:
            if not reply.complete:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.mind, gone)
            await self._respond(scope, ear, reply)
            nursery.cancel_scope.cancel()
        if not reply.complete:
            await ear.linger()

    async def _respond(self, scope: dict[str, Any], ear: Ear, reply: Reply) -> None:
        """Send the one response to a request, or as much of it as there is."""
        try:
            try:
                request = understood(scope, self._config)
                if self._streams:
                    await self._stream(request, ear, reply)
                else:
                    await self._handle(request, ear, reply)
            except (FolkError, Refused) as error:
                self._note(scope, error, reply)
                ear.let_go()
                if not reply.begun:
                    await reply.outcome(outcome_of(error))
        except ClientGone:
            return

    async def _stream(self, request: dict[str, Any], ear: Ear, reply: Reply) -> None:
        request["body"] = await ear.first(IN_REQUEST)
        rest = None if ear.complete else ear
        async with self._pool.stream(SERVE, request, feed=rest) as items:
            async for item in items:
                head = None if reply.begun else head_of(item)
                data, last = piece_of(item)
                if last:
                    ear.let_go()
                if head is not None:
                    await reply.begin(head)
                await reply.piece(data, last=last)
        ear.let_go()
        if not reply.begun:
            await reply.whole(head_of(items.result), body_of(items.result))
        elif not reply.complete:
            await reply.piece(b"", last=True)

    async def _handle(self, request: dict[str, Any], ear: Ear, reply: Reply) -> None:
        ear.limit = min(self._config.max_body, self._config.max_gathered)
        body = await ear.first(ear.limit + 1)
        answer = await self._pool.execute(HANDLE, as_handled(request, body))
        await reply.whole(head_of(answer), body_of(answer))

    def _note(self, scope: dict[str, Any], error: Exception, reply: Reply) -> None:
        """Log what is the server's affair. A client's mistakes are not, and a busy pool says so itself."""
        status, _, _ = outcome_of(error)
        if status >= 500 and status != 503:
            cut = "; its response had begun, and was cut off" if reply.begun else ""
            _log.error("%s %.200r: %d%s: %s", scope["method"], scope["path"], status, cut, error)

    # -- its own paths

    def _is_probe(self, scope: dict[str, Any]) -> bool:
        own = (self._config.health, self._config.readiness)
        return scope["path"] in own and scope["method"] in ("GET", "HEAD")

    async def _probe(self, path: str, reply: Reply) -> None:
        statistics = self._pool.statistics()
        fine = path == self._config.health or (statistics.ready > 0 and self._pool.state == "open")
        text = f"{statistics.ready} of {len(statistics.slots)} workers are ready\n".encode()
        await reply.whole(Head(200 if fine else 503, [(b"content-type", b"text/plain")], None), text)


async def _refuse_websocket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": 501, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"websockets are not served\n"})
    else:
        await send({"type": "websocket.close", "code": 1011, "reason": "websockets are not served"})


async def _live(receive: Receive, send: Send) -> None:
    """Nothing begins or ends with the server: the pool is somebody else's."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})

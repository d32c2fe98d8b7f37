"""ASGI 3: an application runs as a task of the worker's loop, and what it sends leaves when there is room for it.

Invariants
    1. What an application sends waits until it is taken: a slow client makes a slow application.
    2. When a request is over, its task has ended, or was cancelled and given `CLOSING` seconds.
    3. The lifespan's startup is over before the worker says that it is ready, its shutdown follows the last request.

An application hears that its client has gone as a cancellation, at the next thing that it awaits.

Knows ASGI and trio. Does not know how requests come.
Picture: docs/design/http.md
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import trio

from ._async_stream import CLOSING
from ._current import CurrentCall, current_call
from ._failures import traceback_text
from ._web_lifespan import Lifespan
from ._web_wsgi import LARGEST, SMALL

__all__ = ["Asgi"]

App = Callable[..., Any]
_LAST_STEPS = 2  # turns that an application gets to end, after it has sent its last


class Asgi:
    """One application, for as long as the worker lives."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        """What stands around all requests: the lifespan, and a nursery for their tasks.

        Raises:
            TargetError: the application failed to start.
        """
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            lifespan = Lifespan(self._app, self._state)
            try:
                await lifespan.start(nursery)
                yield
                await lifespan.stop()
            except BaseException as raised:
                error = raised  # leaves bare
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    def serve(self, request: dict[str, Any]) -> AsyncIterator[Any]:
        """The response to a request: its head with the first piece, then pieces; or at the end the whole."""
        assert self._nursery is not None, "requests come between the beginning and the end of around()"
        return _Exchange(
            self._app, scope_of(request, self._state), request["body"], current_call(), self._nursery
        )


class _Exchange(AsyncIterator[Any]):
    """One request and its response."""

    def __init__(
        self, app: App, scope: dict[str, Any], first: bytes, call: CurrentCall, nursery: trio.Nursery
    ) -> None:
        self._app = app
        self._asgi_scope = scope
        self._first: bytes | None = first
        self._call = call
        self._nursery = nursery
        self._cancel = trio.CancelScope()
        self._ended = trio.Event()
        self._begun = False
        self._error: BaseException | None = None
        self._head: dict[str, Any] | None = None
        self._complete = False  # the application has sent its last
        self._left = False  # so has the head
        self._waiting: tuple[bytes, bool] | None = None
        self._parts: deque[Any] = deque()
        self._news = trio.Event()
        self._taken = trio.Event()

    # -- the iterator

    async def __anext__(self) -> Any:
        if self._parts:
            return self._parts.popleft()
        if not self._begun:
            self._begun = True
            self._nursery.start_soon(self._run)
        try:
            while self._waiting is None and not self._ended.is_set():
                self._news = trio.Event()
                await self._news.wait()
            if self._waiting is None:
                self._end()
            return await self._take()
        except trio.Cancelled:
            await self._close()
            raise

    async def aclose(self) -> None:
        """Nobody wants more."""
        await self._close()
        if self._error is not None and not self._complete:
            raise self._error

    async def athrow(self, error: BaseException) -> NoReturn:
        """It was cancelled while nothing of it ran here."""
        await self._close()
        raise error

    async def _close(self) -> None:
        self._cancel.cancel()
        if self._begun:
            with trio.move_on_after(CLOSING, shield=True):
                await self._ended.wait()

    async def _take(self) -> Any:
        """What the application has sent, in pieces of a bearable size; the first of them."""
        assert self._waiting is not None
        body, more = self._waiting
        if not self._left and not more and len(body) <= SMALL:
            for _ in range(_LAST_STEPS):
                await trio.lowlevel.checkpoint()
            if self._ended.is_set():
                self._end({**(self._head or {}), "body": body})
        self._waiting = None
        self._taken.set()
        pieces: list[Any] = [body[start : start + LARGEST] for start in range(0, len(body), LARGEST)] or [b""]
        if not self._left:
            pieces[0] = {**(self._head or {}), "body": pieces[0]}
            self._left = True
        if not more:
            # what the application does after that is no reason to keep its client waiting
            last = pieces[-1]
            pieces[-1] = {**(last if isinstance(last, dict) else {"body": last}), "last": True}
        self._parts.extend(pieces)
        return self._parts.popleft()

    def _end(self, answer: Any = None) -> NoReturn:
        if not self._complete:
            raise self._error or RuntimeError("the application returned without completing its response")
        if self._error is not None:  # its client has all that it was to get
            print(traceback_text(self._error, self._error.__traceback__), file=sys.stderr, flush=True)
        raise StopAsyncIteration(answer)

    # -- the application's task

    async def _run(self) -> None:
        try:
            with self._cancel:
                await self._app(self._asgi_scope, self._receive, self._send)
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._error = error  # raised where the response is read
        finally:
            self._ended.set()
            self._news.set()

    async def _receive(self) -> dict[str, Any]:
        if self._first is None:
            await trio.sleep_forever()  # the next event is the client's departure, and that cancels
        piece, self._first = self._first or b"", b""
        if not piece and self._call.fed:
            piece = await self._call.areceive()
        more = bool(piece) and self._call.fed
        if not more:
            self._first = None
        return {"type": "http.request", "body": piece, "more_body": more}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and self._head is None:
            pairs = [[bytes(name), bytes(value)] for name, value in message.get("headers", ())]
            self._head = {"status": int(message["status"]), "headers": pairs}
        elif message["type"] == "http.response.body" and self._head is not None and not self._complete:
            await self._send_body(bytes(message.get("body", b"")), bool(message.get("more_body", False)))
        else:
            raise RuntimeError(f"{message['type']!r} is not expected now")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if not body and more:
            await trio.lowlevel.checkpoint()
            return
        while self._waiting is not None:
            await self._taken.wait()
        self._complete = not more
        self._taken = trio.Event()
        self._waiting = body, more
        self._news.set()
        if more:
            await self._taken.wait()
        else:
            await trio.lowlevel.checkpoint()


def scope_of(request: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The connection scope of a request."""
    client, server = request["client"], request["server"]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request["http_version"],
        "method": request["method"],
        "scheme": request["scheme"],
        "path": unquote_to_bytes(request["path"]).decode("utf-8", "replace"),
        "raw_path": request["path"],
        "query_string": request["query"],
        "root_path": request["root_path"],
        "headers": [(name.lower(), value) for name, value in request["headers"]],
        "client": tuple(client) if client else None,
        "server": tuple(server) if server else None,
        "state": state.copy(),
        "extensions": {},
    }

"""A client in a few lines: what leaves is what a test says, and what comes is read whole, within a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import trio

from trio_folk.http import serve
from trio_folk.http._serving import Site

BOUND = 60.0  # seconds for whatever is waited for; load may take ten times what it should


@attrs.define
class Answer:
    """What came back.

    Attributes:
        body: of it, what came.
        whole: whether the response came to its end.
    """

    status: int = 0
    headers: dict[str, str] = attrs.Factory(dict)
    body: bytes = b""
    size: int = 0
    whole: bool = False


@asynccontextmanager
async def serving(app: Any, *, bound: float = BOUND, **settings: Any) -> AsyncIterator[Site]:
    """A site on a port of its own; stopped gracefully at the end, within the bound."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(bound):
            settings.setdefault("bind", "127.0.0.1:0")
            settings.setdefault("slots", 1)
            site: Site = await nursery.start(partial(serve, app, stop=stop, **settings))
            yield site
            stop.set()
            while nursery.child_tasks:
                await trio.sleep(0.01)


async def connect(site: Site | str) -> trio.SocketStream:
    address = site if isinstance(site, str) else site.addresses[0]
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def ask(
    site: Site | str,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | AsyncIterator[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    keep: bool = True,
    bound: float = BOUND,
) -> Answer:
    """One request on a connection of its own."""
    with trio.fail_after(bound):
        async with await connect(site) as stream:
            return await converse(stream, path, method=method, body=body, headers=headers, keep=keep)


async def converse(
    stream: trio.SocketStream,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | AsyncIterator[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    keep: bool = True,
    connection: h11.Connection | None = None,
) -> Answer:
    """One request on this connection."""
    http = connection or h11.Connection(h11.CLIENT)
    own = {"Host": "test", **(headers or {})}
    if isinstance(body, bytes):
        if body:
            own["Content-Length"] = str(len(body))
    else:
        own["Transfer-Encoding"] = "chunked"
    await stream.send_all(
        http.send(h11.Request(method=method, target=path, headers=list(own.items()))) or b""
    )
    answer = Answer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_body, stream, http, body)
        try:
            await _read(stream, http, answer, keep)
        finally:
            nursery.cancel_scope.cancel()
    return answer


async def _send_body(
    stream: trio.SocketStream, http: h11.Connection, body: bytes | AsyncIterator[bytes]
) -> None:
    try:
        if isinstance(body, bytes):
            if body:
                await stream.send_all(http.send(h11.Data(data=body)) or b"")
        else:
            async for piece in body:
                await stream.send_all(http.send(h11.Data(data=piece)) or b"")
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")
    except (trio.BrokenResourceError, h11.LocalProtocolError):
        return  # the server has heard enough


async def _read(stream: trio.SocketStream, http: h11.Connection, answer: Answer, keep: bool) -> None:
    pieces: list[bytes] = []
    while True:
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
                continue
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            break
        match event:
            case h11.Response():
                answer.status = event.status_code
                answer.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            case h11.Data():
                answer.size += len(event.data)
                if keep:
                    pieces.append(bytes(event.data))
            case h11.EndOfMessage():
                answer.whole = True
                break
            case h11.ConnectionClosed():
                break
    answer.body = b"".join(pieces)

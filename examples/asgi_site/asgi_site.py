"""An ASGI application without a framework: a lifespan, a page, an upload, and a response that never ends by itself."""

from __future__ import annotations

import time
from typing import Any

import trio

PAGE = b"<!doctype html><title>ASGI</title><h1>ASGI</h1><p>up since %d<p id=ticks><script>\
new EventSource('ticks').onmessage = event => document.getElementById('ticks').textContent += event.data + ' '</script>"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(scope["state"], receive, send)
        return
    match scope["method"], scope["path"]:
        case "GET", "/":
            await answer(send, PAGE % scope["state"]["began"], b"text/html")
        case "POST", "/length":
            await answer(send, b"%d\n" % await length(receive))
        case "GET", "/ticks":
            await tick(send)
        case _:
            await answer(send, b"nothing here\n", status=404)


async def live(state: dict[str, Any], receive: Any, send: Any) -> None:
    """Before the first request of a worker, and after its last."""
    await receive()
    state["began"] = int(time.time())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(send: Any, body: bytes, kind: bytes = b"text/plain", status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


async def length(receive: Any) -> int:
    """How long a body is, of which no more than a piece is here at a time."""
    total, more = 0, True
    while more:
        message = await receive()
        total += len(message["body"])
        more = message["more_body"]
    return total


async def tick(send: Any) -> None:
    """Server-sent events, until the client leaves: then this is cancelled where it sleeps."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    for number in range(1, 1_000_000):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await trio.sleep(0.5)

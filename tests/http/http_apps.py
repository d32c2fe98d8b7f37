"""Applications and workers to be served, for the tests of the http room."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import trio

from trio_folk.worker import Worker, current_call

BLOCK = b"x" * 65536
SEEN: list[str] = []


def peak() -> bytes:
    return b"%d" % resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -- WSGI


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """What its path says."""
    kind = environ["PATH_INFO"].strip("/").split("/")
    plain = [("Content-Type", "text/plain")]
    match kind:
        case ["length"]:
            total = 0
            while block := environ["wsgi.input"].read(100_000):
                total += len(block)
            start_response("200 OK", plain)
            return [b"%d" % total]
        case ["lines"]:
            start_response("200 OK", plain)
            return [b"|".join(line.strip() for line in environ["wsgi.input"])]
        case ["unread"]:
            start_response("200 OK", plain)
            return [b"not read"]
        case ["down", blocks]:
            start_response("200 OK", plain)
            return (BLOCK for _ in range(int(blocks)))
        case ["peak"]:
            start_response("200 OK", plain)
            return [peak()]
        case ["header", name]:
            start_response("200 OK", plain)
            return [environ.get(name, "none").encode("latin-1")]
        case ["path", *_]:
            start_response("200 OK", plain)
            return [environ["PATH_INFO"].encode("latin-1") + b"?" + environ["QUERY_STRING"].encode()]
        case ["raises"]:
            raise ValueError("before its head")
        case ["raises-later"]:
            start_response("200 OK", plain)
            return raises_later()
        case ["replaces"]:
            start_response("200 OK", plain)
            try:
                raise ValueError("after all")
            except ValueError:
                import sys

                start_response("500 Oops", plain, sys.exc_info())
            return [b"replaced"]
        case ["writes"]:
            start_response("200 OK", plain)(b"written, ")
            return [b"and given"]
        case ["closes"]:
            start_response("200 OK", plain)
            return Closing()
        case ["seen"]:
            start_response("200 OK", plain)
            found = ",".join(SEEN)
            SEEN.clear()
            return [found.encode()]
        case ["dies"]:
            os._exit(3)
        case ["dies-later"]:
            start_response("200 OK", plain)
            return dies_later()
        case ["sleeps", seconds]:
            time.sleep(float(seconds))
            start_response("200 OK", plain)
            return [b"slept"]
        case ["splits"]:
            start_response("200 OK", [("X-Evil", "a\r\nSet-Cookie: b=c")])
            return [b""]
        case ["lies"]:
            start_response("200 OK", [("Content-Length", "5")])
            return [b"more than that"]
        case ["hops"]:
            start_response(
                "200 OK", [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-Own", "1")]
            )
            return [b"ok"]
        case ["silent"]:
            return [b"no head"]
    start_response("200 OK", [*plain, ("Content-Length", "5")])
    return [b"hello"]


class Closing:
    """An iterable that says that it was closed."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"a", b"b"])

    def close(self) -> None:
        SEEN.append("closed")


def raises_later() -> Iterator[bytes]:
    yield BLOCK * 2
    raise ValueError("after its head")


def dies_later() -> Iterator[bytes]:
    for _ in range(64):
        yield BLOCK
    os._exit(3)


validated = validator(lambda environ, start_response: _plain(environ, start_response))


def _plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = environ["wsgi.input"].read(10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body, b"!"]


def factory() -> Callable[..., Any]:
    return wsgi


# -- ASGI


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """What its path says."""
    if scope["type"] == "lifespan":
        await _live(scope, receive, send)
        return

    async def answer(body: bytes, status: int = 200, *, more: bool = False) -> None:
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": body, "more_body": more})

    match scope["path"].strip("/").split("/"):
        case ["length"]:
            total = 0
            while True:
                message = await receive()
                total += len(message["body"])
                if not message["more_body"]:
                    break
            await answer(b"%d" % total)
        case ["down", blocks]:
            await answer(b"", more=True)
            for _ in range(int(blocks)):
                await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        case ["peak"]:
            await answer(peak())
        case ["state"]:
            await answer(scope["state"]["started"])
        case ["raises"]:
            raise ValueError("before its head")
        case ["waits"]:
            try:
                await trio.sleep_forever()
            finally:
                SEEN.append("cancelled")
        case ["later"]:
            await answer(b"first")
            await trio.sleep(0.1)
            SEEN.append("later")
        case ["seen"]:
            found = ",".join(SEEN)
            SEEN.clear()
            await answer(found.encode())
        case ["incomplete"]:
            await answer(b"some", more=True)
        case _:
            await answer(b"hello")


async def _live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = b"yes"
        else:
            print("shut down", flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def unstartable(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


# -- workers

handler = Worker()


@handler.method("http.handle")
def handle(method: str, uri: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    text = f"{method} {uri} {headers.get('x-own', '')} {len(body)}"
    return {"status": 201, "headers": {"X-Own": ["1", "2"]}, "body": text}


scripted = Worker(concurrency=8)
"""One whose responses are what the request's body says, in Python: for responses that no application would give."""


@scripted.method("http.serve", raw=True)
async def scripted_serve(request: dict[str, Any]) -> AsyncIterator[Any]:
    for item in eval(request["body"], {}):
        if item == "wait":
            try:
                await trio.sleep_forever()
            finally:
                SEEN.append("cancelled")
        elif item == "read":
            while piece := await current_call().areceive():
                SEEN.append(str(len(piece)))
        else:
            yield item


@scripted.method("http.handle", raw=True)
async def scripted_handle(request: dict[str, Any]) -> Any:
    return eval(request["body"], {})


@scripted.method
async def seen() -> list[str]:
    found = SEEN[:]
    SEEN.clear()
    return found

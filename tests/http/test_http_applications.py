"""Applications over real connections and real workers: WSGI, ASGI, and a worker's own handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import h11
import pytest
import trio
from http_client import BOUND, ask, connect, converse, serving

import trio_folk
from trio_folk.http import application

FLASK = """
from flask import Flask, request

app = Flask(__name__)

@app.post("/form")
def form():
    return {"name": request.form["name"], "file": len(request.files["file"].read())}
"""
MULTIPART = (
    b"--x\r\nContent-Disposition: form-data; name=name\r\n\r\nEmma\r\n"
    b"--x\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\n"
    + b"y" * 200_000
    + b"\r\n--x--\r\n"
)


async def pieces(count: int, size: int = 65536) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"y" * size


async def test_wsgi_answers_as_it_should() -> None:
    """Bodies both ways, whatever their length; heads that are replaced or written late; iterables that are closed."""
    async with serving("http_apps:wsgi") as site:

        async def text(path: str, **more: Any) -> bytes:
            answer = await ask(site, path, **more)
            assert (answer.status, answer.whole) == (200, True), answer
            return answer.body

        assert await text("/") == b"hello"
        assert await text("/length", method="POST", body=b"z" * 10) == b"10"
        assert await text("/length", method="POST", body=b"z" * 1_000_000) == b"1000000"
        assert await text("/length", method="POST", body=pieces(40)) == b"%d" % (40 * 65536)
        assert await text("/lines", method="POST", body=b"a\nb\r\nc") == b"a|b|c"
        assert await text("/unread", method="POST", body=b"z" * 10_000_000) == b"not read"
        assert await text("/path/a%20%C3%A9?b=%20") == "/path/a é?b=%20".encode()
        assert await text("/writes") == b"written, and given"
        assert await text("/closes") == b"ab"
        assert await text("/seen") == b"closed"
        assert await text("/header/HTTP_X_OWN", headers={"X-Own": "1", "X_Own": "2"}) == b"1"
        assert await text("/header/HTTP_PROXY", headers={"Proxy": "evil"}) == b"none"
        assert (await ask(site, "/down/50", keep=False)).size == 50 * 65536
        replaced = await ask(site, "/replaces")
        assert (replaced.status, replaced.body) == (500, b"replaced")
        head = await ask(site, "/", method="HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "5")
        hops = await ask(site, "/hops")
        assert (hops.headers["x-own"], hops.headers.get("connection"), hops.body) == ("1", None, b"ok")


async def test_what_an_application_does_wrong_has_a_status() -> None:
    """Before its head a whole answer, after it a response that is cut off; the worker serves on where it lives."""
    config = trio_folk.PoolConfig(slots=1, min_uptime=0, exec_timeout=60)
    async with serving("http_apps:factory()", config=config) as site:
        for path, status in (
            ("/raises", 500),
            ("/silent", 500),
            ("/splits", 502),
            ("/lies", 502),
            ("/dies", 502),
        ):
            answer = await ask(site, path)
            assert (answer.status, answer.whole) == (status, True), path
            assert b"Traceback" not in answer.body
        for path in ("/raises-later", "/dies-later"):
            answer = await ask(site, path, keep=False)
            assert (answer.status, answer.whole) == (200, False), path
        assert (await ask(site)).body == b"hello"


async def test_the_environ_is_what_the_standard_says() -> None:
    """By the validator of the standard library, which raises otherwise."""
    async with serving("http_apps:validated") as site:
        answer = await ask(site, "/x", method="POST", body=b"body", headers={"Content-Type": "text/plain"})
        assert (answer.status, answer.body) == (200, b"body!")


async def test_a_flask_application_reads_its_form(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form with a file, in a request of its own and in pieces without a length."""
    pytest.importorskip("flask")
    (tmp_path / "http_flask_site.py").write_text(FLASK)
    monkeypatch.syspath_prepend(str(tmp_path))

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, len(MULTIPART), 50_000):
            yield MULTIPART[start : start + 50_000]

    async with serving("http_flask_site:app") as site:
        for body in (MULTIPART, chunked()):
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            answer = await ask(site, "/form", method="POST", body=body, headers=headers)
            assert (answer.status, answer.body) == (200, b'{"file":200000,"name":"Emma"}\n')


async def test_asgi_answers_as_it_should() -> None:
    """Bodies both ways, the state of its lifespan, work after its response, and what it does wrong."""
    async with serving("http_apps:asgi") as site:
        assert (await ask(site)).body == b"hello"
        assert (await ask(site, "/state")).body == b"yes"
        assert (await ask(site, "/length", method="POST", body=b"z" * 10)).body == b"10"
        assert (await ask(site, "/length", method="POST", body=pieces(40))).body == b"%d" % (40 * 65536)
        assert (await ask(site, "/down/50", keep=False)).size == 50 * 65536
        assert (await ask(site, "/later")).body == b"first"
        with trio.fail_after(BOUND):
            while (await ask(site, "/seen")).body != b"later":
                await trio.sleep(0.05)
        assert (await ask(site, "/raises")).status == 500
        cut = await ask(site, "/incomplete")
        assert (cut.status, cut.body, cut.whole) == (200, b"some", False)


async def test_an_application_that_cannot_start_is_a_boot_that_failed() -> None:
    """Its words are in the error, and nothing was served."""
    with pytest.RaisesGroup(pytest.RaisesExc(trio_folk.BootFailed, match="no database")):
        async with serving("http_apps:unstartable"):
            raise AssertionError("it started")


@pytest.mark.parametrize("path", ["/waits", "/sleeps/60"])
async def test_a_client_that_leaves_ends_its_request(path: str) -> None:
    """The application is cancelled where it waits, and the slot is free; one that does not hear it loses its worker."""
    target = "http_apps:asgi" if path == "/waits" else "http_apps:wsgi"
    config = trio_folk.PoolConfig(slots=1, cancel_grace=0.2)
    async with serving(target, config=config) as site:
        async with await connect(site) as stream:
            http = h11.Connection(h11.CLIENT)
            await stream.send_all(
                http.send(h11.Request(method="GET", target=path, headers=[("Host", "x")])) or b""
            )
            await stream.send_all(http.send(h11.EndOfMessage()) or b"")
            while not site.pool.statistics().running:
                await trio.sleep(0.01)
        assert (await ask(site)).body == b"hello"
        assert site.pool.statistics().cancelled == 1
        if path == "/waits":
            assert (await ask(site, "/seen")).body == b"cancelled"


async def test_a_worker_of_ones_own_handles() -> None:
    """``http.handle``, with its body whole, and its headers as a map."""
    async with serving("http_apps:handler") as site:
        answer = await ask(site, "/a?b", method="POST", body=b"z" * 200_000, headers={"X-Own": "1"})
        assert (answer.status, answer.body) == (201, b"POST /a?b 1 200000")
        assert answer.headers["x-own"] == "2"


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """Requests follow each other on one, small ones and streamed ones."""
    async with serving(application("http_apps:wsgi", fork=True)) as site, await connect(site) as stream:
        http = h11.Connection(h11.CLIENT)
        for path, size in (("/", 5), ("/down/3", 3 * 65536), ("/", 5)):
            answer = await converse(stream, path, connection=http)
            assert (answer.status, len(answer.body)) == (200, size)
            http.start_next_cycle()


@pytest.mark.parametrize(
    ("target", "wrong"), [("http_apps:scripted", "http.handle"), ("http_apps:SEEN", "called")]
)
async def test_what_cannot_be_served_is_said_at_boot(target: str, wrong: str) -> None:
    """A worker whose handler is asynchronous; what is no application at all."""
    with pytest.RaisesGroup(pytest.RaisesExc(trio_folk.BootFailed, match=wrong)):
        async with serving(target):
            raise AssertionError("it started")

"""The front, asked as a server asks it: what becomes of clients that wait, leave, lie or send for ever."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import http_apps
import pytest
import trio
import trio.testing

import trio_folk
from trio_folk.http import HttpConfig, HttpFront
from trio_folk.testing import Fault, FaultyRuntime, Script
from trio_folk.worker._web import web_worker

PIECE = b"z" * 65536


class Server:
    """One request to a front, as an ASGI server makes it; its queue is as short as hypercorn's."""

    def __init__(self, front: HttpFront, method: str = "POST", path: str = "/", **scope: Any) -> None:
        self._front = front
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            **scope,
        }
        self.say, self._receive = trio.open_memory_channel[dict[str, Any]](10)
        self.sent: list[dict[str, Any]] = []
        self.stalls = False

    async def _send(self, message: dict[str, Any]) -> None:
        if self.stalls:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.sent.append(message)
        if message.get("more_body") is False:
            # as hypercorn does, before it returns from the last send: whoever does not listen then waits for ever
            await self.say.send({"type": "http.disconnect"})

    async def run(self, body: Iterable[bytes] = (b"",), *, end: bool = True, gone: bool = False) -> Server:
        """Send the body, and return when the front has returned."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say, list(body), end, gone)
            for _ in range(20):
                await trio.lowlevel.checkpoint()  # until the queue is full, or all is said
            await self._front(self._scope, self._receive.receive, self._send)
            nursery.cancel_scope.cancel()
        return self

    async def _say(self, pieces: list[bytes], end: bool, gone: bool) -> None:
        for number, piece in enumerate(pieces, 1):
            more = number < len(pieces) or not end
            await self.say.send({"type": "http.request", "body": piece, "more_body": more})
        if gone:
            await self.say.send({"type": "http.disconnect"})

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def whole(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


@asynccontextmanager
async def front_of(
    runtime: trio_folk.abc.Runtime | None = None,
    *,
    limits: HttpConfig | None = None,
    method: Any = "http.serve",
    **settings: Any,
) -> AsyncIterator[tuple[HttpFront, trio_folk.WorkerPool]]:
    config = trio_folk.PoolConfig(slots=1, **settings)
    runtime = runtime or trio_folk.TaskRuntime(http_apps.scripted)
    async with trio_folk.open_pool(runtime, config=config) as pool:
        yield HttpFront(pool, config=limits, method=method), pool


def script(*items: Any) -> list[bytes]:
    return [repr(list(items)).encode()]


HEAD = {"status": 200, "headers": [], "body": b"first"}


async def test_a_response_leaves_as_it_comes() -> None:
    """The head with the first piece, then each piece; the last one ends it before the worker is free."""
    async with front_of() as (front, _):
        done = await Server(front).run(script(HEAD, b"second", {"body": b"third", "last": True}))
        assert (done.status, done.body, done.whole) == (200, b"firstsecondthird", True)
        assert [message["body"] for message in done.sent[1:]] == [b"first", b"second", b"third"]


@pytest.mark.parametrize(
    "items",
    [
        [b"no head"],
        [3],
        [{"status": 99}],
        [{"headers": [["a", "b\r\nc: d"]]}],
        [{"body": 3}],
        [],
    ],
)
async def test_a_response_that_cannot_be_sent_is_a_502(items: list[Any]) -> None:
    """Nothing of it leaves, and the worker serves on."""
    async with front_of() as (front, pool):
        done = await Server(front).run(script(*items))
        assert (done.status, done.whole) == (502, True)
        assert (await Server(front).run(script(HEAD))).status == 200
        assert pool.statistics().running == 0


@pytest.mark.parametrize(
    ("length", "pieces", "body"),
    [(8, [b"a", b"bcd", b"e"], b"firsta"), (20, [b"a"], b"firsta"), (3, [b"a"], b"")],
)
async def test_a_length_that_is_not_kept_cuts_the_response(
    length: int, pieces: list[bytes], body: bytes
) -> None:
    """Not a byte more than promised leaves, and less does not pass for whole."""
    head = {"status": 200, "headers": [["content-length", str(length)]], "body": b"first"}
    async with front_of() as (front, _):
        done = await Server(front).run(script(head, *pieces))
        assert (done.status, done.body, done.whole) == (200, body, False)


async def test_a_busy_pool_says_when_to_come_back() -> None:
    """503 at once where nothing may wait, and after the queue timeout where it may."""
    worker = trio_folk.worker.Worker()
    worker.method("http.handle", raw=True)(http_apps.scripted.methods["http.handle"])

    @worker.method("http.serve", raw=True)
    async def wait(request: Any) -> AsyncIterator[Any]:
        await trio.sleep_forever()
        yield

    async with front_of(trio_folk.TaskRuntime(worker), queue_timeout=0, cancel_grace=math.inf) as (
        front,
        pool,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(front).run)
            while not pool.statistics().running:
                await trio.sleep(0.01)
            done = await Server(front).run()
            assert (done.status, done.whole, done.headers[b"retry-after"]) == (503, True, b"1")
            nursery.cancel_scope.cancel()


async def test_what_takes_too_long_is_a_504(autojump_clock: trio.testing.MockClock) -> None:
    """Before its head; after it the response is cut."""
    async with front_of(exec_timeout=5, min_uptime=0) as (front, _):
        assert (await Server(front).run(script("wait"))).status == 504
        cut = await Server(front).run(script(HEAD, "wait"))
        assert (cut.status, cut.body, cut.whole) == (200, b"first", False)


async def test_a_death_is_a_502_and_a_crash_loop_a_503(autojump_clock: trio.testing.MockClock) -> None:
    """With the seconds until there can be a worker again."""
    dies = Script(at_call={1: Fault.dies()})
    settings = {"on_crash_loop": "degrade", "budget": trio_folk.SpawnBudget(1, 60)}
    runtime = FaultyRuntime([dies], then=Script(boot="dies"))
    async with front_of(runtime, method="http.handle", **settings) as (front, _):
        assert (await Server(front).run()).status == 502
        await trio.sleep(1)
        done = await Server(front).run()
        assert done.status == 503
        assert 1 < int(done.headers[b"retry-after"]) <= 60


async def test_a_client_that_leaves_cancels_its_call() -> None:
    """While the body comes, and after it."""
    async with front_of() as (front, pool):
        http_apps.SEEN.clear()
        assert (await Server(front).run([b"unfinished"], end=False, gone=True)).sent == []
        server = Server(front)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, script(HEAD, "wait"))
            while not server.sent:
                await trio.sleep(0.01)
            await server.say.send({"type": "http.disconnect"})
        assert not server.whole
        assert await pool.execute("seen") == ["cancelled"]
        assert pool.statistics().running == 0


async def test_a_body_that_stops_coming_is_a_408(autojump_clock: trio.testing.MockClock) -> None:
    """In its beginning, and when a worker reads it: nobody takes it for whole."""
    reads = repr([HEAD, "read"]).encode().ljust(65536)
    for body, status in (
        ([b"some"], 408),
        ([repr(["read", HEAD]).encode().ljust(65536)], 408),
        ([reads], 200),
    ):
        async with front_of(limits=HttpConfig(body_timeout=3)) as (front, _):
            done = await Server(front).run(body, end=False)
            assert (done.status, done.whole) == (status, status == 408)


async def test_a_body_beyond_the_limit_is_a_413() -> None:
    """Said beforehand, found at the beginning, or found by the worker that reads it."""
    limits = HttpConfig(max_body=100_000)
    async with front_of(limits=limits) as (front, _):
        said = Server(front, headers=[(b"content-length", b"100001")])
        with trio.fail_after(20):  # before the send_timeout would help
            assert (await said.run([PIECE] * 100, gone=True)).status == 413
        reads = repr(["read", HEAD]).encode().ljust(65536)
        assert (await Server(front).run([reads, PIECE, PIECE])).status == 413
    async with front_of(limits=HttpConfig(max_gathered=10), method="http.handle") as (front, _):
        assert (await Server(front).run([b"z" * 6, b"z" * 6])).status == 413
        assert (await Server(front).run([b"{}"])).status == 200


async def test_a_body_that_nobody_reads_does_not_hold_up_the_end() -> None:
    """Far more than the server's queue holds; the client has gone before it was all sent, or has not."""
    ignores = repr([HEAD]).encode().ljust(65536)
    async with front_of() as (front, _):
        for gone in (False, True):
            with trio.fail_after(20):  # before the send_timeout would help
                done = await Server(front).run([ignores, *[PIECE] * 100], end=not gone, gone=gone)
                assert (done.status, done.body, done.whole) == (200, b"first", True)


async def test_a_client_that_takes_nothing_counts_as_gone(autojump_clock: trio.testing.MockClock) -> None:
    """Its call is over after the timeout."""
    async with front_of(limits=HttpConfig(send_timeout=7)) as (front, pool):
        server = Server(front)
        server.stalls = True
        began = trio.current_time()
        await server.run(script(HEAD, "wait"))
        assert 7 <= trio.current_time() - began < 10
        assert pool.statistics().running == 0


async def test_probes_tell_of_the_process_and_of_its_workers(autojump_clock: trio.testing.MockClock) -> None:
    """Health is the process's, readiness the workers'; without paths the application answers there."""
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()})], then=Script(boot="dies"))
    settings = {"on_crash_loop": "degrade", "budget": trio_folk.SpawnBudget(1, 60)}
    async with front_of(runtime, method="http.handle", **settings) as (front, pool):
        assert (await Server(front, "GET", "/readyz").run()).status == 200
        assert (await Server(front, "GET", "/healthz").run()).status == 200
        await Server(front).run()
        await trio.sleep(1)
        assert (await Server(front, "GET", "/readyz").run()).status == 503
        done = await Server(front, "GET", "/healthz").run()
        assert (done.status, done.body) == (200, b"0 of 1 workers are ready\n")
        await pool.drain()
        assert (await Server(front, "HEAD", "/readyz").run()).status == 503
    async with front_of(limits=HttpConfig(health=None, readiness=None)) as (front, _):
        assert (await Server(front, "GET", "/healthz").run(script({"status": 204}))).status == 204


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_websockets_are_refused_in_so_many_words(extensions: dict[str, Any]) -> None:
    """501, where the server lets us say so."""
    async with front_of() as (front, _):
        server = Server(front, type="websocket", extensions=extensions)
        await server.say.send({"type": "websocket.connect"})
        await server.run([])
        assert server.sent[0] == (
            {
                "type": "websocket.http.response.start",
                "status": 501,
                "headers": [(b"content-type", b"text/plain")],
            }
            if extensions
            else {"type": "websocket.close", "code": 1011, "reason": "websockets are not served"}
        )


async def test_a_servers_lifespan_is_answered() -> None:
    """And any other kind of scope refused."""
    async with front_of() as (front, _):
        server = Server(front, type="lifespan")
        for what in ("startup", "shutdown"):
            await server.say.send({"type": f"lifespan.{what}"})
        await server.run([])
        assert [message["type"] for message in server.sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="is not HTTP")):
            await Server(front, type="smtp").run([])
        with pytest.raises(ValueError, match=r"http\.serve"):
            HttpFront(None, method="GET")  # type: ignore[arg-type]


async def test_an_application_runs_as_a_task_too() -> None:
    """For unit tests and debuggers: ASGI and WSGI over the same wire; a long body of WSGI would wait for itself."""
    async with front_of(trio_folk.TaskRuntime(web_worker("http_apps:asgi"))) as (front, _):
        assert (await Server(front, path="/state").run()).body == b"yes"
        assert (await Server(front, path="/length").run([PIECE] * 5)).body == b"%d" % (5 * 65536)
        assert (await Server(front, path="/down/5").run()).body == PIECE.replace(b"z", b"x") * 5
        assert (await Server(front, path="/incomplete").run()).whole is False
    async with front_of(trio_folk.TaskRuntime(web_worker("http_apps:wsgi"))) as (front, _):
        assert (await Server(front, path="/length").run([b"z" * 10])).body == b"10"
        assert (await Server(front, path="/length").run([PIECE] * 5)).status == 500

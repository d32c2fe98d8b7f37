"""The pages over HTTP: what they answer, and that no client can hold them up."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import FolkError, TaskRuntime, open_pool
from trio_folk.telemetry import Health, HealthStatus, Prometheus, _server, serve_telemetry
from trio_folk.testing import explore_cancellation
from trio_folk.worker import Worker

BOUND = 30


@asynccontextmanager
async def serving(**what: Any) -> AsyncIterator[tuple[str, int]]:
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(partial(serve_telemetry, **what))
            nursery.cancel_scope.cancel()


async def said(address: tuple[str, int], request: bytes) -> bytes:
    """Everything that comes back, to the end of the connection."""
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        received = b""
        try:
            await stream.send_all(request)
            async for data in stream:
                received += data
        except trio.BrokenResourceError:
            pass  # it has heard enough
        return received


async def get(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, str, bytes]:
    request = f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()
    head, _, body = (await said(address, request)).partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


async def test_the_three_pages_of_a_pool() -> None:
    """Metrics as Prometheus reads them; health as JSON, with the status that a probe looks at."""
    metrics = Prometheus()
    async with open_pool(TaskRuntime(Worker()), slots=1, instruments=[metrics]) as pool:
        await pool.execute("echo", 1)
        async with serving(metrics=metrics, health=Health(pool)) as address:
            assert address[0] == "127.0.0.1"
            status, head, body = await get(address, "/metrics")
            assert (status, b"folk_worker_requests_total" in body) == (200, True)
            assert "Content-Type: text/plain" in head
            status, head, body = await get(address, "/readyz?verbose")
            assert (status, json.loads(body)["status"]) == (200, "pass")
            assert "application/health+json" in head
            await pool.drain()
            assert (await get(address, "/readyz"))[0] == 503
            status, _, body = await get(address, "/healthz")
            assert (status, [*json.loads(body)["checks"]]) == (200, ["supervision of pool"])
            assert (await get(address, "/elsewhere"))[::2] == (404, b"here are /metrics, /healthz, /readyz\n")
            status, head, body = await get(address, "/healthz", "HEAD")
            assert (status, body, "Content-Length: 1" in head) == (200, b"", True)


async def test_a_warning_is_no_failure() -> None:
    """A probe that takes a service down for it would make it worse."""
    health = Health()

    async def less() -> HealthStatus:
        return HealthStatus.WARN

    health.add("less", less)
    async with serving(health=health) as address:
        status, _, body = await get(address, "/readyz")
        assert (status, json.loads(body)["status"]) == (200, "warn")
        assert (await get(address, "/metrics"))[0] == 404


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
        (b"GET /readyz HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20_000, 431),
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
    ],
)
async def test_what_is_no_plain_question_is_refused(request_: bytes, status: int) -> None:
    """With the status that says so; and the next client is served."""
    async with serving(health=Health()) as address:
        answer = await said(address, request_)
        assert not answer or int(answer.split()[1]) == status  # a reset may overtake what was written
        assert (await get(address, "/readyz"))[0] == 200


async def test_a_client_that_says_nothing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the connection is closed, without an answer."""
    monkeypatch.setattr(_server, "PATIENCE", 0.1)
    async with serving(health=Health()) as address:
        assert await said(address, b"") == b""
        assert await said(address, b"GET /readyz HT") == b""


async def test_a_client_that_does_not_read_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that no buffer holds, and nobody who takes it: its seat is free after its time."""

    class Long:
        def page(self) -> tuple[str, bytes]:
            return "text/plain", b"x" * (64 << 20)

    monkeypatch.setattr(_server, "PATIENCE", 0.2)
    monkeypatch.setattr(_server, "CONNECTIONS", 1)
    async with serving(metrics=Long(), health=Health()) as address:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            while not await said(address, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"):
                await trio.sleep(0.02)


async def test_more_connections_than_there_are_seats_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once; and when one is free again the next is served."""
    monkeypatch.setattr(_server, "CONNECTIONS", 2)
    async with serving(health=Health()) as address:
        async with await trio.open_tcp_stream(*address), await trio.open_tcp_stream(*address):
            await wait_all_tasks_blocked(
                0.05
            )  # they are in the kernel's queue, so they have their seats then
            assert await said(address, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") == b""
        while not await said(address, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"):
            await trio.sleep(0.01)


async def test_a_page_that_cannot_be_made_is_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets no traceback, the log does, and the server goes on."""

    class Broken:
        def page(self) -> tuple[str, bytes]:
            raise ZeroDivisionError("secret")

    async with serving(metrics=Broken(), health=Health()) as address:
        status, _, body = await get(address, "/metrics")
        assert (status, b"secret" in body) == (500, False)
        assert (await get(address, "/readyz"))[0] == 200
    (record,) = (each for each in caplog.records if each.name == "trio_folk.telemetry")
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_an_address_that_is_taken_is_said_at_once() -> None:
    """`nursery.start` raises."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="already in use"):
            await serve_telemetry(health=Health(), port=taken.getsockname()[1])


async def test_without_h11_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it listens."""
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(FolkError, match=r"h11.*\n.*trio-folk\[metrics\]"):
        await serve_telemetry(health=Health())


async def a_request_and_its_end() -> None:
    async with serving(metrics=Prometheus(), health=Health()) as address:
        assert (await get(address, "/metrics"))[0] == 200


def test_cancelled_anywhere_it_leaves_nothing() -> None:
    """At points spread over the opening, a request and the end: no socket, no task."""
    done = explore_cancellation(a_request_and_its_end, seeds=[1], max_points=20)
    assert done.reached >= 15

"""The pages that Prometheus and Kubernetes read, over HTTP: ``/metrics``, ``/healthz``, ``/readyz``.

It answers questions of a few bytes with pages that are ready at once, and whoever can reach it may be anybody. So
nothing here waits for a client longer than a named bound, and nothing of what a client sends is kept.

Invariants
    1. At most `CONNECTIONS` at a time; whoever comes beyond that is turned away at once.
    2. A request is GET or HEAD, has a head of at most `HEAD` bytes and one read, no body, and its connection to itself.
    3. No client costs more than `PATIENCE` to hear and as much again to answer, beside the time of the checks.

Parsing is h11's: it is strict, bounded, and knows no sockets.

Knows HTTP and two things that make pages. Does not know pools.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from .._errors import FolkError
from ._health import Health, HealthReport, HealthStatus

if TYPE_CHECKING:
    import h11

__all__ = ["serve_telemetry"]

CONNECTIONS = 32
HEAD, READ = 8192, 1024  # bytes
PATIENCE = 5.0
"""Seconds."""

_TEXT, _JSON = "text/plain; charset=utf-8", "application/health+json"
_log = logging.getLogger("trio_folk.telemetry")


class Page(Protocol):
    """What makes the page of metrics, as `Prometheus` does."""

    def page(self) -> tuple[str, bytes]:
        """Its content type, and the page."""
        ...


@attrs.frozen
class _Answer:
    status: int
    kind: str
    body: bytes


async def serve_telemetry(
    *,
    metrics: Page | None = None,
    health: Health | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, until cancelled: ``host, port = await
    nursery.start(partial(serve_telemetry, metrics=metrics, health=Health(pool)))``.

    ``/healthz`` asks whether the program should be started anew, ``/readyz`` whether calls should come here. Both
    answer 200 for ``pass`` and ``warn``, 503 for ``fail``, and say in JSON what each check found. Without `metrics` or
    `health` their pages are not there (404).

    It is for machines that you trust: no TLS, no passwords. A client has 5 s to ask and 5 s to take the answer; at most
    32 are served at a time.

    Args:
        metrics: makes the page of metrics: a `Prometheus`.
        health: makes the others.
        host: the address; by default that of this machine alone.
        port: the port; 0 for any that is free.

    Raises:
        FolkError: h11 is not installed.
        OSError: the address cannot be had.

    Always a checkpoint. Cancellation: connections are closed at once, and nothing is left.
    """
    try:
        import h11
    except ImportError as error:
        raise FolkError(
            f"serve_telemetry needs h11: {error}", hint='install it: pip install "trio-folk[metrics]"'
        ) from None
    pages: dict[str, Callable[[], Awaitable[_Answer]]] = {}
    if metrics is not None:
        pages["/metrics"] = lambda: _metrics(metrics)
    if health is not None:
        pages["/healthz"] = lambda: _health(health, live=True)
        pages["/readyz"] = lambda: _health(health, live=False)
    seats = trio.CapacityLimiter(CONNECTIONS)
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=CONNECTIONS)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                seats.acquire_on_behalf_of_nowait(stream)
            except trio.WouldBlock:
                return
            try:
                await _Conversation(stream, h11).answer(pages)
            except Exception:
                _log.exception("a connection failed; the others go on")
            finally:
                seats.release_on_behalf_of(stream)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        address = listeners[0].socket.getsockname()
        task_status.started((address[0], address[1]))


class _Conversation:
    """One connection, for one request."""

    def __init__(self, stream: trio.SocketStream, protocol: Any) -> None:
        self._stream = stream
        self._h11 = protocol
        self._wire: Any = protocol.Connection(protocol.SERVER, max_incomplete_event_size=HEAD)
        self._asked: h11.Request | None = None

    async def answer(self, pages: dict[str, Callable[[], Awaitable[_Answer]]]) -> None:
        """Hear it, and answer it, if anybody asks within the time."""
        try:
            with trio.move_on_after(PATIENCE) as hearing:
                self._asked = await self._hear()
            if hearing.cancelled_caught or self._asked is None:
                return
            answer = await _found(self._asked, pages)
        except self._h11.RemoteProtocolError as error:
            answer = _plain(error.error_status_hint, "this is no request that is answered here")
        except trio.BrokenResourceError:
            return
        with trio.move_on_after(PATIENCE):
            await self._say(answer)

    async def _hear(self) -> h11.Request | None:
        """The request; None where the client went away."""
        request: h11.Request | None = None
        while True:
            event = self._wire.next_event()
            if event is self._h11.NEED_DATA:
                self._wire.receive_data(await self._stream.receive_some(READ))
            elif isinstance(event, self._h11.Request):
                request = event
            elif isinstance(event, self._h11.EndOfMessage):
                return request
            elif isinstance(event, self._h11.Data):
                raise self._h11.RemoteProtocolError("a body", error_status_hint=413)
            else:
                return None

    async def _say(self, answer: _Answer) -> None:
        if self._wire.our_state not in (self._h11.SEND_RESPONSE, self._h11.IDLE):
            return
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if answer.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        only_head = self._asked is not None and self._asked.method == b"HEAD"
        events = (
            self._h11.Response(status_code=answer.status, headers=headers),
            *(() if only_head else (self._h11.Data(data=answer.body),)),
            self._h11.EndOfMessage(),
        )
        data = b"".join(self._wire.send(event) or b"" for event in events)
        try:
            await self._stream.send_all(data)
            await self._stream.send_eof()
        except trio.BrokenResourceError:
            return


async def _found(asked: h11.Request, pages: dict[str, Callable[[], Awaitable[_Answer]]]) -> _Answer:
    path = asked.target.decode("ascii", "replace").partition("?")[0]
    page = pages.get(path)
    if page is None:
        return _plain(404, f"here are {', '.join(pages) or 'no pages'}")
    if asked.method not in (b"GET", b"HEAD"):
        return _plain(405, "GET or HEAD")
    try:
        return await page()
    except Exception:
        _log.exception("%s could not be made", path)
        return _plain(500, "the page could not be made; the log says why")


def _plain(status: int, text: str) -> _Answer:
    return _Answer(status, _TEXT, f"{text}\n".encode())


async def _metrics(metrics: Page) -> _Answer:
    await trio.lowlevel.checkpoint()
    return _Answer(200, *metrics.page())


async def _health(health: Health, *, live: bool) -> _Answer:
    report = await health.check(live=live)
    status = 503 if report.status is HealthStatus.FAIL else 200
    return _Answer(status, _JSON, json.dumps(_as_json(report)).encode())


def _as_json(report: HealthReport) -> dict[str, object]:
    checks = {
        name: {"status": each.status, "output": each.message, "seconds": round(each.seconds, 6)}
        for name, each in report.checks.items()
    }
    return {"status": report.status, "checks": checks}

"""Serving: sockets, a pool, a front and a server, opened in this order and ended in the other.

Invariants
    1. No worker is born before the addresses are ours, and no connection is taken before a worker is ready.
    2. Stopped, it takes no more connections, and what runs has the pool's ``drain_timeout``.

Knows how they belong together. Does not know how any of them does its work.
Picture: docs/design/http.md
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Literal

import attrs
import trio

from .._pool import PoolConfig, WorkerPool, open_pool
from .._pool.background import open_background
from ..abc import Runtime
from ..runtimes import ForkRuntime, PipeRuntime
from ._config import HttpConfig
from ._front import HANDLE, SERVE, HttpFront
from ._hypercorn import Tls, run_server
from ._sockets import address_of, bound

__all__ = ["Interface", "Site", "application", "serve"]

Interface = Literal["auto", "wsgi", "asgi"]
_TARGET = "trio_folk.worker._web:worker"
_MOST = 86400.0  # seconds; hypercorn knows no infinity


@attrs.frozen
class Site:
    """What `serve` has started.

    Attributes:
        addresses: where it listens: ``host:port`` or ``unix:path``.
        pool: of the workers; ``site.pool.reload()`` brings in new code.
    """

    addresses: tuple[str, ...]
    pool: WorkerPool


def application(
    target: str,
    *,
    interface: Interface = "auto",
    concurrency: int | None = None,
    fork: bool = False,
) -> PipeRuntime | ForkRuntime:
    """Workers that serve a web application: a runtime for `serve`, or for a pool behind an `HttpFront`.

    Args:
        target: ``"module:app"``, ``"module:factory()"``, or ``"module:worker"`` of a worker that has
            ``http.handle``. It is imported in the workers only.
        interface: what it is; by default ASGI if it is called with ``async``, else WSGI.
        concurrency: requests that one worker serves at once: 16 by default for ASGI, whose applications run under
            trio; for WSGI 1, and above one they run in threads.
        fork: workers are forked from one process that has imported the application, and share its memory.

    Raises:
        ValueError: that makes no sense.
    """
    if ":" not in target:
        raise ValueError(f"a target is written 'module:app', e.g. 'mysite:app', not {target!r}")
    if interface not in ("auto", "wsgi", "asgi"):
        raise ValueError(f"interface is 'auto', 'wsgi' or 'asgi', not {interface!r}")
    env = {"FOLK_HTTP_APP": target, "FOLK_HTTP_INTERFACE": interface}
    if concurrency is not None:
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1 request, not {concurrency!r}")
        env["FOLK_HTTP_CONCURRENCY"] = str(concurrency)
    if fork:
        return ForkRuntime(_TARGET, env=env)
    return PipeRuntime.python(_TARGET, env=env)


async def serve(
    app: str | Runtime,
    *,
    bind: str | Sequence[str] = "127.0.0.1:8000",
    sockets: Sequence[socket.socket] = (),
    slots: int | None = None,
    config: PoolConfig | None = None,
    http: HttpConfig | None = None,
    method: Literal["http.serve", "http.handle"] | None = None,
    watch: Sequence[str] = (),
    tls: Tls | None = None,
    access_log: bool = False,
    stop: trio.Event | None = None,
    name: str = "http",
    task_status: trio.TaskStatus[Site] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a web application in a pool: ``site = await nursery.start(serve, "mysite:app")``. Needs hypercorn.

    It has started when the first worker is ready and connections are taken. It returns when `stop` was set and what
    ran then has ended, or ``drain_timeout`` was over.

    Args:
        app: the target of `application`; the path of a PHP script, ``*.php``; or a runtime.
        bind: ``host:port``, ``[v6]:port`` or ``unix:path``, one or several; port 0 is any that is free.
        sockets: further ones that listen already; they are closed at the end.
        slots: how many workers; overrides ``config.slots``.
        config: of the pool. By default a request waits for a worker for 10 seconds, runs for 60 at most, and crash
            loops are answered with 503 until a worker can be started again.
        http: the limits for clients.
        method: what the workers have; by default ``"http.handle"`` for PHP, else ``"http.serve"``.
        watch: files and folders; when one changes the workers are reloaded. For development.
        tls: paths of a certificate and its key.
        access_log: a line on standard output for each request.
        stop: set it to end serving gracefully.
        name: begins the workers' ids.

    Raises:
        BindError: an address cannot be listened on.
        BootFailed, BootTimeout, CrashLoop: no worker became ready.
        FolkError: hypercorn is not installed, or cannot be watched what is to be.

    Cancellation: requests are cancelled, connections closed, every worker is ended; set `stop` where that is too harsh.
    """
    limits = http or HttpConfig()
    settings = config or default_config()
    runtime, its_method = _runtime_of(app)
    stopping = stop if stop is not None else trio.Event()
    with bound([bind] if isinstance(bind, str) else bind, sockets, limits.send_timeout) as listeners:
        addresses = tuple(map(address_of, listeners))
        async with open_pool(runtime, slots=slots, config=settings, name=name) as pool:
            front = HttpFront(pool, config=limits, method=method or its_method)
            async with open_background() as nursery:
                if watch:
                    await nursery.start(partial(pool.watch, *watch))
                await run_server(
                    front,
                    listeners,
                    limits,
                    graceful_timeout=min(settings.drain_timeout, _MOST),
                    stop=stopping.wait,
                    tls=tls,
                    access_log=access_log,
                    on_started=partial(task_status.started, Site(addresses, pool)),
                )


def default_config() -> PoolConfig:
    """The settings of a pool behind HTTP, where nothing else was said."""
    return PoolConfig(exec_timeout=60.0, queue_timeout=10.0, on_crash_loop="degrade")


def _runtime_of(app: str | Runtime) -> tuple[Runtime, Literal["http.serve", "http.handle"]]:
    if isinstance(app, Runtime):
        return app, SERVE
    if app.endswith(".php"):
        return PipeRuntime.php(app), HANDLE
    return application(app), SERVE

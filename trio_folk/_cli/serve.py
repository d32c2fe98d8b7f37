"""``trio-folk serve``: a web application in a pool, until a signal ends it; for a terminal and for systemd.

Invariants
    1. The application is never imported here.
    2. The first SIGTERM or SIGINT ends it gracefully: no new connections, and what runs is finished. The second ends
       it at once.
    3. SIGHUP brings in new code; if that is not fit to run, the old serves on.

Knows signals, and what systemd is told. Does not know HTTP.
Picture: docs/design/http.md
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import attrs
import trio

from .._errors import FolkError, PoolClosed, ReloadFailed
from .._pool import PoolConfig
from .._pool.background import open_background
from ..abc import Runtime
from ..http import HttpConfig, application, serve
from ..http._notify import Notifier, handed_over
from ..http._serving import Interface, Site
from ..runtimes import PipeRuntime
from .streams import complain, log_to

__all__ = ["ServeSettings", "run_serve"]

FINE, NOT_SERVED = 0, 2

_log = logging.getLogger("trio_folk")


@attrs.frozen(kw_only=True)
class ServeSettings:
    """One command line, understood."""

    target: str
    bind: tuple[str, ...]
    interface: Interface
    concurrency: int | None
    fork: bool
    config: PoolConfig
    http: HttpConfig
    watch: tuple[str, ...]
    tls: tuple[str, str] | None
    access_log: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> ServeSettings:
        """From the parsed words."""
        slots = {} if options.workers is None else {"slots": options.workers}
        probes: dict[str, Any] = {"health": None, "readiness": None} if options.no_probes else {}
        return cls(
            target=options.target,
            bind=tuple(options.bind),
            interface=options.interface,
            concurrency=options.concurrency,
            fork=options.fork,
            config=PoolConfig(
                **slots,
                on_crash_loop="degrade",  # a 503 is better than no server
                exec_timeout=options.timeout,
                queue_timeout=options.queue_timeout,
                max_queue=options.max_queue,
                boot_timeout=options.boot_timeout,
                drain_timeout=options.drain_timeout,
                max_jobs=options.max_jobs,
                max_memory_mb=options.memory,
            ),
            http=HttpConfig(max_body=options.max_body * 2**20, root_path=options.root_path, **probes),
            watch=tuple(options.watch),
            tls=(options.cert, options.key) if options.cert else None,
            access_log=options.access_log,
        )

    @property
    def script(self) -> bool:
        """Whether a script of PHP is served."""
        return self.target.endswith(".php")

    def runtime(self) -> Runtime:
        """What makes the workers."""
        if self.script:
            return PipeRuntime.php(self.target)
        return application(
            self.target, interface=self.interface, concurrency=self.concurrency, fork=self.fork
        )


def run_serve(settings: ServeSettings) -> int:
    """Run it; returns the exit status."""
    sys.path.insert(0, os.getcwd())  # which the workers inherit: the application is looked for here first
    log_to(complain)
    logging.getLogger("trio_folk.hypercorn").setLevel(logging.WARNING)
    notifier = Notifier(os.environ)
    try:
        sockets = handed_over(os.environ)
        return trio.run(_Serving(settings, sockets, notifier).run)
    except ValueError as error:
        complain(f"trio-folk serve: {error}")
        return NOT_SERVED


class _Serving:
    def __init__(self, settings: ServeSettings, sockets: list[socket.socket], notifier: Notifier) -> None:
        self._settings = settings
        self._sockets = sockets
        self._notifier = notifier
        self._scope = trio.CancelScope()
        self._stop = trio.Event()
        self._site: Site | None = None

    async def run(self) -> int:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with open_background() as nursery:
                nursery.start_soon(self._listen, signals, nursery)
                return await self._serve()

    async def _serve(self) -> int:
        settings = self._settings
        method: Literal["http.serve", "http.handle"] = "http.handle" if settings.script else "http.serve"
        bind = () if self._sockets and not settings.bind else settings.bind or ("127.0.0.1:8000",)
        status: trio.TaskStatus[Site] = _Started(self._started)
        try:
            with self._scope:
                await serve(
                    settings.runtime(),
                    bind=bind,
                    sockets=self._sockets,
                    config=settings.config,
                    http=settings.http,
                    method=method,
                    watch=settings.watch,
                    tls=settings.tls,
                    access_log=settings.access_log,
                    stop=self._stop,
                    task_status=status,
                )
        except (FolkError, FileNotFoundError) as error:
            complain(f"trio-folk serve: {error}")
            return NOT_SERVED
        return FINE

    def _started(self, site: Site) -> None:
        self._site = site
        scheme = "https" if self._settings.tls else "http"
        where = ", ".join(
            each if each.startswith("unix:") else f"{scheme}://{each}" for each in site.addresses
        )
        complain(f"trio-folk serve: {self._settings.target} on {where}")
        self._notifier.status(f"serving {self._settings.target} on {where}")
        self._notifier.ready()

    async def _listen(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                if self._site is not None and not self._stop.is_set():
                    nursery.start_soon(self._reload, self._site)
            elif self._stop.is_set() or self._site is None:
                self._scope.cancel()
            else:
                self._notifier.stopping()
                self._stop.set()
                seconds = self._settings.config.drain_timeout
                complain(f"trio-folk serve: stopping; what runs has {seconds:g} s, once more ends it at once")

    async def _reload(self, site: Site) -> None:
        self._notifier.reloading()
        try:
            report = await site.pool.reload()
        except (ReloadFailed, PoolClosed) as error:
            _log.error("the reload failed, and the old code serves on: %s", error)
        else:
            _log.info("generation %d after %.2f s", report.generation, report.seconds)
        self._notifier.ready()


class _Started:
    """Hears that serving has begun, in the task that serves."""

    def __init__(self, tell: Callable[[Site], object]) -> None:
        self._tell = tell

    def started(self, value: Any = None) -> None:
        """It has."""
        self._tell(value)

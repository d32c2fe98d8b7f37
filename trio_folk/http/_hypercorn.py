"""Hypercorn, as it is used here: its trio worker, over sockets that are open already, with our limits.

Knows hypercorn, and no other file does. Does not know pools.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .._errors import FolkError
from ._config import HttpConfig

__all__ = ["Tls", "run_server"]

Tls = tuple[str, str]
"""Paths of a certificate and its key."""

App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


async def run_server(
    app: App,
    sockets: Sequence[socket.socket],
    limits: HttpConfig,
    *,
    graceful_timeout: float,
    stop: Callable[[], Awaitable[None]],
    tls: Tls | None = None,
    access_log: bool = False,
    on_started: Callable[[], object],
) -> None:
    """Serve until `stop` returns; then the requests that run have `graceful_timeout` seconds.

    Args:
        sockets: bound; they are the server's from now on, which closes them.
        on_started: called when connections are taken.

    Raises:
        FolkError: hypercorn is not installed.

    Cancellation: requests are cancelled, connections closed.
    """
    try:
        from hypercorn.config import Config
        from hypercorn.trio import serve
    except ImportError as error:
        raise FolkError(
            f"hypercorn is not installed: {error}",
            hint='pip install "trio-folk[http]", or run HttpFront(pool) in another ASGI server',
        ) from error
    config = Config()
    config.bind = [f"fd://{each.detach()}" for each in sockets]
    config.graceful_timeout = graceful_timeout
    config.keep_alive_timeout = limits.keep_alive_timeout
    config.h11_max_incomplete_size = limits.max_head
    config.h2_max_header_list_size = limits.max_head
    config.include_server_header = False
    config.errorlog = logging.getLogger("trio_folk.hypercorn")
    config.accesslog = "-" if access_log else None
    if tls is not None:
        config.certfile, config.keyfile = tls
    run: Any = serve  # its types are for scopes that it makes itself
    await run(app, config, shutdown_trigger=stop, task_status=_Started(config.bind, on_started), mode="asgi")


class _Started:
    """Hears that hypercorn has started, where there is no nursery to hear it."""

    def __init__(self, binds: Sequence[str], tell: Callable[[], object]) -> None:
        self._binds = binds
        self._tell = tell

    def started(self, value: object = None) -> None:
        """It has. It made the sockets inheritable, for it means to fork; we do not."""
        for each in self._binds:
            os.set_inheritable(int(each.removeprefix("fd://")), False)
        self._tell()

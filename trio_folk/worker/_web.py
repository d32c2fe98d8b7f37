"""A worker that serves a web application by one method, ``http.serve``: WSGI, ASGI, or a worker's ``http.handle``.

Whoever is to serve an application in a pool should not have to write a worker around it. So the target is named in the
environment, is looked at here, and what it turns out to be decides how it is called.

    FOLK_HTTP_APP           module:application, or module:factory()
    FOLK_HTTP_INTERFACE     wsgi, asgi, or auto
    FOLK_HTTP_CONCURRENCY   how many requests at once; absent: 1, and for ASGI `AT_ONCE`

The worker itself, `worker`, is made when it is first asked for.

Knows targets and what kinds of them there are. Does not know environs, scopes or bodies.
Picture: docs/design/http.md
"""

from __future__ import annotations

import os

from ._target import TargetError, load_named
from ._worker import Worker, is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["AT_ONCE", "SERVE", "web_worker"]

SERVE = "http.serve"
HANDLE = "http.handle"
AT_ONCE = 16
"""Requests that one worker of an ASGI application serves at once, unless it is told another number."""


def web_worker(target: str, interface: str = "auto", concurrency: int | None = None) -> Worker:
    """A worker whose ``http.serve`` runs what the target names.

    Raises:
        TargetError: it cannot be served.
    """
    found = _application(target)
    if isinstance(found, Worker):
        return _around_handler(found, target)
    if not callable(found):
        raise TargetError(
            "TypeError",
            f"{target!r} is {type(found).__name__!r}, which is no application: it cannot be called",
        )
    if interface == "auto":
        interface = "asgi" if is_async(found) else "wsgi"
    if interface == "asgi":
        from ._web_asgi import Asgi

        worker = Worker(concurrency or AT_ONCE)
        worker._serve_around(SERVE, Asgi(found))
        return worker
    from ._web_wsgi import Wsgi

    worker = Worker(concurrency or 1)
    worker.method(SERVE, raw=True)(Wsgi(found, threads=worker.concurrency > 1).serve)
    return worker


def _application(target: str) -> Any:
    """What a target names; a factory is called."""
    name, called, rest = target.partition("()")
    found = load_named(name)
    if not called:
        return found
    if rest or not callable(found):
        raise TargetError("ValueError", f"a factory is written 'module:function()', not {target!r}")
    return found()


def _around_handler(worker: Worker, target: str) -> Worker:
    """Offer a worker's own handler as if it streamed."""
    method = worker._methods.get(HANDLE)
    if method is None or method.streams:
        raise TargetError(
            "TypeError", f"the worker {target!r} has no method {HANDLE!r} that returns its response"
        )
    if method.is_async:
        raise TargetError(
            "TypeError", f"{HANDLE!r} of {target!r} is asynchronous: serve an ASGI application instead"
        )
    from ._web_handler import serve_by

    worker.method(SERVE, raw=True)(serve_by(method))
    return worker


def __getattr__(name: str) -> Any:
    if name != "worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = worker = _from_environment()
    return worker


def _from_environment() -> Worker:
    target = os.environ.pop("FOLK_HTTP_APP", "")
    interface = os.environ.pop("FOLK_HTTP_INTERFACE", "auto")
    concurrency = os.environ.pop("FOLK_HTTP_CONCURRENCY", "")
    return web_worker(target, interface, int(concurrency) if concurrency.isdecimal() else None)

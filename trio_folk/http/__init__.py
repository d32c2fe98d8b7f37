"""A pool behind HTTP: WSGI and ASGI applications, and workers in any language, served by supervised worker processes.

    async with trio.open_nursery() as nursery:
        await nursery.start(trio_folk.http.serve, "mysite:app")

`serve` needs hypercorn: ``pip install "trio-folk[http]"``. `HttpFront` needs nothing: it is an ASGI application, for
any server that runs ASGI under trio.

Knows pools, requests and responses. Does not know how workers are made, nor what runs in them.
Picture: docs/design/http.md
"""

from __future__ import annotations

from ._config import HttpConfig as HttpConfig
from ._front import HttpFront as HttpFront
from ._serving import Site as Site
from ._serving import application as application
from ._serving import serve as serve

__all__ = ["HttpConfig", "HttpFront", "Site", "application", "serve"]

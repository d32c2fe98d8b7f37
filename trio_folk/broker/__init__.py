"""Brokered backends: one daemon, started at most once however many programs ask, which all of them share.

    service = Service("thumbs", [sys.executable, "-m", "myapp.thumbsd"], version="1.4.0")
    stream = await connect_or_spawn(service)

The daemon's side, in ``myapp/thumbsd.py``::

    class Thumbs(BrokeredBackend):
        async def serve(self, listener, *, task_status):
            load_models()                       # clients wait meanwhile; none is refused
            task_status.started()
            await listener.serve(handle)

    trio.run(bootstrap, Thumbs)

Knows processes, locks and sockets. Only the shared pool knows pools, and what is spoken on its endpoint.
Picture: docs/design/broker.md
"""

from __future__ import annotations

from ._backends import BackendStatus as BackendStatus
from ._backends import Broadcast as Broadcast
from ._backends import clean_backends as clean_backends
from ._backends import list_backends as list_backends
from ._backends import quiesce as quiesce
from ._backends import release_handles as release_handles
from ._backends import shutdown as shutdown
from ._binding import bind_endpoint as bind_endpoint
from ._bootstrap import bootstrap as bootstrap
from ._conformance import ConformanceError as ConformanceError
from ._conformance import check_backend as check_backend
from ._connecting import connect_or_spawn as connect_or_spawn
from ._contract import BrokeredBackend as BrokeredBackend
from ._listener import BackendConnection as BackendConnection
from ._listener import BackendListener as BackendListener
from ._place import runtime_directory as runtime_directory
from ._service import Service as Service
from ._shared_client import SharedPool as SharedPool
from ._shared_client import connect_pool as connect_pool
from ._shared_server import serve_pool as serve_pool

__all__ = [
    # clients
    "Service",
    "connect_or_spawn",
    "runtime_directory",
    # daemons
    "BrokeredBackend",
    "BackendListener",
    "BackendConnection",
    "bind_endpoint",
    "bootstrap",
    "check_backend",
    "ConformanceError",
    # a pool that many programs share
    "serve_pool",
    "connect_pool",
    "SharedPool",
    # all of them
    "list_backends",
    "BackendStatus",
    "clean_backends",
    "quiesce",
    "release_handles",
    "shutdown",
    "Broadcast",
]

"""Administration: a socket on which a running pool is seen and steered, by this user alone, and plugins beside it.

    async with open_pool(runtime, name="thumbs") as pool, trio.open_nursery() as nursery:
        await nursery.start(admin.serve, pool)
        ...

Then, from anywhere: ``trio-folk top``, ``trio-folk admin reload``, or::

    client = await admin.connect()
    await client.recycle(3)

Knows pools and sockets. Does not know command lines or terminals.
Picture: docs/design/admin.md
"""

from __future__ import annotations

from ._client import AdminClient as AdminClient
from ._client import connect as connect
from ._link import Notices as Notices
from ._places import find_sockets as find_sockets
from ._plugin import Method as Method
from ._plugin import Plugin as Plugin
from ._plugins import Plugins as Plugins
from ._plugins import open_plugins as open_plugins
from ._server import serve as serve

__all__ = [
    # the program's side
    "serve",
    "Plugin",
    "Method",
    "open_plugins",
    "Plugins",
    # the other side
    "connect",
    "AdminClient",
    "Notices",
    "find_sockets",
]

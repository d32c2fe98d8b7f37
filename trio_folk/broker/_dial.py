"""Dialling: a connection to an endpoint, or the plain fact that nobody listens there.

trio takes a connect(2) that would block for one that is under way, and asks afterwards whether it failed. On a Unix
socket EAGAIN means that the backlog is full: nothing is under way, and nothing failed. So it is done by hand.

Knows endpoints and sockets. Does not know what to do where nobody listens.
"""

from __future__ import annotations

import errno
import math
import socket

import trio

from .._errors import BackendRefused, BindIOError
from ._address import address_of, find_socket, is_abstract
from ._peer import check_peer

__all__ = ["Unreachable", "dial"]

BACKLOG_PAUSE = 0.005
"""Seconds before the second attempt at a full backlog; doubled for each further one."""
BACKLOG_PAUSE_MOST = 0.2
RETRY_AFTER = 1.0
"""Seconds after which a refusal for want of descriptors, or of room in the backlog, suggests to come again."""

_NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR, errno.ECONNRESET)


class Unreachable(Exception):
    """Nobody listens there."""


async def dial(endpoint: str, *, deadline: float = math.inf) -> trio.SocketStream:
    """A connection to whoever listens there, if it is this user's.

    Args:
        deadline: when waiting for room in the backlog ends.

    Raises:
        Unreachable: nobody does.
        InvalidEndpoint: what is there is no socket of ours.
        BackendRefused: another user's, no descriptors left here, or the backlog stays full.

    Always a checkpoint. Cancellation: there is no connection.
    """
    pause = BACKLOG_PAUSE
    while True:
        await trio.lowlevel.checkpoint()
        if (sock := _try(endpoint)) is not None:
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        left = deadline - trio.current_time()
        if left <= 0:
            raise BackendRefused(f"the backlog of {endpoint} is full", "backlog", RETRY_AFTER)
        await trio.sleep(min(pause, left))
        pause = min(2 * pause, BACKLOG_PAUSE_MOST)


def _try(endpoint: str) -> socket.socket | None:
    """A connected socket, or None if the backlog is full."""
    if find_socket(endpoint) is None and not is_abstract(endpoint):
        raise Unreachable(endpoint)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _no_descriptors(error) from error
    try:
        sock.setblocking(False)
        sock.connect(address_of(endpoint))
        check_peer(sock, endpoint)
    except BlockingIOError:
        sock.close()
        return None
    except OSError as error:
        sock.close()
        if error.errno in _NOBODY:
            raise Unreachable(endpoint) from error
        raise BindIOError(
            f"the endpoint cannot be reached: {error.strerror}: {endpoint}", endpoint
        ) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _no_descriptors(error: OSError) -> BackendRefused:
    return BackendRefused(
        f"there is no descriptor left for a connection: {error.strerror}", "descriptors", RETRY_AFTER
    )

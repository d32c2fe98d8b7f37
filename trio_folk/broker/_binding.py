"""Binding an endpoint, and never taking one that lives.

A starter that unlinks the path before it binds always wins: it takes the endpoint of a daemon that serves, whose new
clients then go elsewhere while the old ones stay. Of N such starters all believe to be the one.

Invariants
    1. What binds, binds first, and never removes anything in order to.
    2. A path is removed only when a connection to it is refused, it is still the same file, and the spawn lock is held
       and proves it.
    3. Nobody but this user can connect: 0600 from the first instant, in a directory that is 0700.

Knows sockets and the lock. Does not know what serves there.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from .._errors import AlreadyBound, BindError, BindIOError, InvalidEndpoint
from .._spawn import SpawnLock
from ._address import SocketFile, address_of, check_folder, find_socket, is_abstract

__all__ = ["BACKLOG", "answers", "bind_endpoint", "bind_under_lock", "remove_own", "remove_stale"]

BACKLOG = 4096
"""Connections that wait while nobody accepts; the kernel takes no more than net.core.somaxconn."""

_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR)
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR)


def bind_endpoint(endpoint: str) -> socket.socket:
    """A listening socket on this endpoint, 0600; what `BrokeredBackend.bind` does by default.

    Raises:
        InvalidEndpoint: it is too long, carries a NUL, has no directory, or is a symbolic link.
        AlreadyBound: something is there. Who holds the spawn lock may find out whether it is stale.
        BindIOError: no rights, no descriptors, no space.
    """
    address = address_of(endpoint)
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _bind_error(endpoint, error) from error
    try:
        if sys.platform == "linux":
            os.fchmod(
                made.fileno(), 0o600
            )  # the file gets the socket's own mode: there is no instant of 0755
        made.bind(address)
        if sys.platform != "linux":
            os.chmod(endpoint, 0o600)  # until here the directory keeps others out
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _bind_error(endpoint, error) from error
    return made


def _bind_error(endpoint: str, error: OSError) -> BindError:
    if error.errno == errno.EADDRINUSE:
        try:
            find_socket(endpoint)
        except InvalidEndpoint as what:
            return what
        return AlreadyBound(f"something is bound to the endpoint: {endpoint}", endpoint)
    if error.errno in _NO_PLACE:
        return InvalidEndpoint(f"the endpoint cannot be bound: {error.strerror}: {endpoint}", endpoint)
    return BindIOError(f"the endpoint cannot be bound: {error.strerror}: {endpoint}", endpoint)


def bind_under_lock(
    bind: Callable[[str], socket.socket], endpoint: str, lock: SpawnLock
) -> tuple[socket.socket, SocketFile | None]:
    """The listening socket that ``bind`` makes, and its file; what is proven stale is removed, once.

    Raises:
        AlreadyBound: somebody listens there.
        BindError, SpawnLockError: as the one who binds, and as `SpawnLock.verify`.
    """
    check_folder(endpoint)
    try:
        made = bind(endpoint)
    except AlreadyBound:
        if not remove_stale(endpoint, lock):
            raise
        made = bind(endpoint)
    return made, find_socket(endpoint)


def remove_stale(endpoint: str, lock: SpawnLock) -> bool:
    """Remove the endpoint's file if nobody listens there; whether the way is free now.

    Raises:
        InvalidEndpoint: what is there is no socket of ours.
        SpawnLockError: the lock is not held any more; nothing was removed.
    """
    before = find_socket(endpoint)
    if answers(endpoint):
        return False
    if before is None:
        return True
    lock.verify()
    if find_socket(endpoint) == before:
        os.unlink(endpoint)
    return True


def remove_own(endpoint: str, own: SocketFile | None) -> None:
    """Remove the endpoint's file if it is still this one. While its socket listens, nobody else may replace it."""
    with suppress(InvalidEndpoint, FileNotFoundError):
        if own is not None and find_socket(endpoint) == own:
            os.unlink(endpoint)


def answers(endpoint: str) -> bool:
    """Whether somebody listens there: only a refused connection says no. Does not wait.

    Raises:
        InvalidEndpoint: what is there is no socket of ours.
    """
    if find_socket(endpoint) is None and not is_abstract(endpoint):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address_of(endpoint))
        except OSError as error:
            return error.errno not in _NOBODY  # EAGAIN: its backlog is full
        return True

"""Sockets to listen on: bound before a worker is born, so that a port that is taken costs nothing.

Knows addresses. Does not know what is served.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .._errors import AlreadyBound, BindError, BindIOError, InvalidEndpoint

__all__ = ["address_of", "bound"]

_PROBE = 1.0  # seconds to find out whether anybody listens on a path


@contextmanager
def bound(
    addresses: Sequence[str], given: Sequence[socket.socket], send_timeout: float
) -> Iterator[list[socket.socket]]:
    """Sockets on these addresses, and those that were given; all are closed at the end, and paths removed.

    Args:
        addresses: ``host:port``, ``[v6]:port`` or ``unix:path``; port 0 is any that is free.
        send_timeout: seconds until a client that takes nothing counts as gone.

    Raises:
        BindError: one of them cannot be listened on.
    """
    sockets = list(given)
    paths: list[str] = []
    try:
        for address in addresses:
            sockets.append(_bind(address))
            if address.startswith("unix:"):
                paths.append(address.removeprefix("unix:"))
        for sock in sockets:
            _bound_sending(sock, send_timeout)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()
        for path in paths:
            with suppress(FileNotFoundError):
                os.unlink(path)


def address_of(sock: socket.socket) -> str:
    """Where a client finds it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{host}:{name[1]}"


def _bind(address: str) -> socket.socket:
    if address.startswith("unix:"):
        return _bind_path(address.removeprefix("unix:"), address)
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidEndpoint(f"an address is host:port or unix:path, not {address!r}", address)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InvalidEndpoint(f"{host!r} is no address of this machine: {error}", address) from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen()
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from error
    return sock


def _bind_path(path: str, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        sock.bind(path)
        sock.listen()
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from error
    return sock


def _remove_dead(path: str) -> None:
    """Remove a socket that nobody listens on any more; nothing else is touched."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _bound_sending(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end connections whose clients take nothing: a server waits for them in vain (tcp(7))."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, min(int(seconds * 1000), 2**31 - 1))


def _refusal(address: str, error: OSError) -> BindError:
    if error.errno == errno.EADDRINUSE:
        return AlreadyBound(f"somebody listens on {address} already", address)
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return InvalidEndpoint(f"{address} cannot be listened on: {error.strerror}", address)
    return BindIOError(f"{address} cannot be listened on: {error.strerror}", address)

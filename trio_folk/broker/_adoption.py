"""Adoption: a listener that was bound before this process began, told of in its environment.

Ours is told of as ``TRIO_FOLK_LISTENER=FD:DEVICE:INODE:PID``: a number alone may be any descriptor by the time it is
looked at. systemd's way, ``LISTEN_FDS`` with ``LISTEN_PID``, sd_listen_fds(3), is understood too.

Invariants
    1. What is told of and is not what was told is an error: never is another one bound in its stead.
    2. It is told once: afterwards it is close-on-exec, and gone from the environment.

Knows the environment and one descriptor. Does not know who launched this process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping

from .._errors import BindError
from ._address import address_of

__all__ = ["OURS", "adopt"]

OURS = "TRIO_FOLK_LISTENER"
_SYSTEMD = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_FIRST = 3


def adopt(endpoint: str, environ: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """The listening socket that was handed to this process for this endpoint, or None if none was.

    Raises:
        BindError: one was told of, and it is not that.
    """
    ours = environ.pop(OURS, None)
    told = {name: environ.pop(name, None) for name in _SYSTEMD}
    if ours is not None:
        return _ours(ours, endpoint)
    if told["LISTEN_PID"] == str(os.getpid()):  # else it was meant for somebody before us
        return _systemds(told["LISTEN_FDS"] or "", endpoint)
    return None


def _ours(told: str, endpoint: str) -> socket.socket:
    try:
        fd, device, inode, pid = (int(word) for word in told.split(":"))
    except ValueError:
        raise _wrong(endpoint, f"{OURS}={told!r} makes no sense") from None
    if pid != os.getpid():
        raise _wrong(
            endpoint,
            f"it was handed to process {pid}, and this is {os.getpid()}",
            "let the program exec the daemon, not fork it",
        )
    found = _stat(fd, endpoint)
    if (found.st_dev, found.st_ino) != (device, inode):
        raise _wrong(endpoint, f"descriptor {fd} is something else by now")
    return _listening(fd, endpoint)


def _systemds(count: str, endpoint: str) -> socket.socket:
    if not count.isdigit():
        raise _wrong(endpoint, f"LISTEN_FDS={count!r} makes no sense")
    for fd in range(_FIRST, _FIRST + int(count)):
        _stat(fd, endpoint)
        os.set_inheritable(fd, False)  # invariant 2, whichever of them is ours
    for sock in _sockets(range(_FIRST, _FIRST + int(count))):
        if sock.getsockname() == address_of(endpoint):
            return _listening(sock.detach(), endpoint)
        sock.detach()
    raise _wrong(endpoint, f"none of the {count} that systemd handed over is bound to it")


def _sockets(fds: range) -> Iterator[socket.socket]:
    for fd in fds:
        try:
            yield socket.socket(fileno=fd)
        except OSError:
            continue  # a FIFO or a file: systemd hands those over too


def _stat(fd: int, endpoint: str) -> os.stat_result:
    try:
        return os.fstat(fd)
    except (OSError, OverflowError) as error:
        raise _wrong(endpoint, f"descriptor {fd} is not open") from error


def _listening(fd: int, endpoint: str) -> socket.socket:
    """The descriptor as a socket, if it is one that listens there; it stays open if not, for it is not ours."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise _wrong(endpoint, f"descriptor {fd} is no socket") from error
    listens = sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
    if not listens or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise _wrong(endpoint, f"descriptor {fd} is no Unix stream socket that listens")
    if sock.getsockname() != address_of(endpoint):
        bound = sock.getsockname()
        sock.detach()
        raise _wrong(endpoint, f"descriptor {fd} is bound to {bound!r}")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _wrong(endpoint: str, why: str, hint: str | None = None) -> BindError:
    return BindError(f"a listener was handed over, but {why}: {endpoint}", endpoint, hint=hint)

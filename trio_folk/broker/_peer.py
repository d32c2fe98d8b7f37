"""Who is at the other end of a Unix socket: the kernel knows, and its word is taken for the user, not for the process.

A process id of a peer is that of whoever bound or connected: with a listener that was handed over it is not the
process that accepts. So it is never asked for.

Knows one socket option. Does not know who is allowed.
"""

from __future__ import annotations

import os
import socket
import struct

import trio

from .._errors import BackendRefused

__all__ = ["check_peer", "peer_uid"]

_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7)
_XUCRED = struct.Struct("II")  # the beginning of the struct in <sys/ucred.h> of macOS: version, uid
_LOCAL_PEERCRED = 1


def peer_uid(sock: socket.socket | trio.socket.SocketType) -> int:
    """The effective user id that the other end had when it connected, or listened."""
    if hasattr(socket, "SO_PEERCRED"):
        uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
        return uid
    return int(_XUCRED.unpack_from(sock.getsockopt(0, _LOCAL_PEERCRED, 128))[1])


def check_peer(sock: socket.socket, endpoint: str) -> None:
    """Return if the other end is this user's, or root's.

    Raises:
        BackendRefused: it is somebody else's.
    """
    uid = peer_uid(sock)
    if uid not in (os.geteuid(), 0):
        raise BackendRefused(
            f"who listens on {endpoint} is uid {uid}, not {os.geteuid()}", "peer", float("inf")
        )

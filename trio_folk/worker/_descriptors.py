"""Bytes of a stream with the descriptors that came among them, by SCM_RIGHTS (unix(7)).

Whoever reads such a channel with `read` loses the descriptors in silence. They come with the bytes they were sent
with, and are claimed in their order by the messages that say what they are.

Invariants
    1. Every descriptor that came is claimed once, or closed.
    2. All are close-on-exec from the moment they are here.

Knows sockets. Does not know what descriptors are for.
"""

from __future__ import annotations

import os
from collections import deque
from struct import unpack

from .._errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Socket(Protocol):
        """One of `socket`, or of the module in C behind it."""

        def recvmsg(
            self, size: int, room: int, flags: int, /
        ) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]: ...


__all__ = ["Descriptors"]

_MOST = 16  # in one message; more are a breach, and closed by the kernel
_UNCLAIMED = 64
_ROOM = 16 + 4 * _MOST  # bytes: a header and the descriptors, CMSG_SPACE(3)


class Descriptors:
    """What has come and has not been claimed."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()

    def receive(self, sock: Socket, size: int) -> bytes:
        """What `recv` would return; the descriptors that come with it are kept.

        Raises:
            OSError: as `recv`.
            ProtocolError: more descriptors than anybody claims.
        """
        import _socket

        data, ancillary, flags, _ = sock.recvmsg(size, _ROOM, _socket.MSG_CMSG_CLOEXEC)
        if not ancillary and not flags & _socket.MSG_CTRUNC:
            return data
        for level, kind, raw in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self._waiting.extend(unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4]))
        if flags & _socket.MSG_CTRUNC or len(self._waiting) > _UNCLAIMED:
            raise ProtocolError("more descriptors than messages about them")
        return data

    def claim(self) -> int:
        """The oldest one, whose owner the caller is from now on.

        Raises:
            ProtocolError: there is none.
        """
        if not self._waiting:
            raise ProtocolError("a message about a descriptor, without it")
        return self._waiting.popleft()

    def close(self) -> None:
        """Close what nobody has claimed."""
        while self._waiting:
            os.close(self._waiting.popleft())

"""A worker's end of the control channel: descriptors come and go with its messages, and several threads speak.

Invariants
    1. A message is written whole before the next one begins, whichever thread has begun it.
    2. A forked child has nothing of it.

Knows one descriptor. Does not know what is said.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

from ._descriptors import Descriptors
from ._sync import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

__all__ = ["Control"]

_READ = 4096  # bytes; what is told on this channel is short


class Control:
    """Descriptor 4, from when the worker is about to listen to it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sock: _socket.socket | None = None
        self._writing = allocate_lock()
        self.descriptors = Descriptors()

    def read(self) -> bytes:
        """The next bytes, or none at the end of file; descriptors that came with them are to be claimed."""
        return self.descriptors.receive(self._socket(), _READ)

    def say(self, frame: bytes, descriptor: int | None = None) -> None:
        """Write a message, with a descriptor where it is about one.

        Raises:
            OSError: nobody reads it.
        """
        with self._writing:
            if descriptor is None:
                write_whole(self._fd, frame)
                return
            import _socket

            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
            sent = self._socket().sendmsg([frame], [rights])
            if sent < len(frame):
                write_whole(self._fd, frame[sent:])

    def forget(self) -> None:
        """In a forked child: close it, unsaid and unheard."""
        os.close(self._fd)
        if self._sock is not None:
            self._sock.detach()  # else it would close whatever has the number by then

    def _socket(self) -> _socket.socket:
        if self._sock is None:
            import _socket  # half a millisecond, in the thread that listens

            self._sock = _socket.socket(fileno=self._fd)
            self._sock.setblocking(True)
        return self._sock

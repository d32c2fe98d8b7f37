"""The outbox of a task channel: frames that wait to be sent, together, in the order in which they came.

A system call for each small frame costs more than the frame, and wakes the worker each time; and a socket may take a
part of a frame only, whose rest must follow before anything else.

Invariants
    1. Frames leave in the order in which they were added, each whole before the next begins.
    2. A call is `sent` when the last byte of its frames has been taken by the socket, and not before.

Knows a socket and bytes. Does not know replies, nor who waits for them.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Generic, Protocol, TypeVar

__all__ = ["Outbox"]

_TOGETHER = 65536
"""Bytes of frames that are joined for one write; larger ones are sent as they are."""


class _Sender(Protocol):
    """Whose frames they are."""

    sent: bool


S = TypeVar("S", bound=_Sender)


class Outbox(Generic[S]):
    """What a socket has not taken yet.

    Attributes:
        newest: the last of whose frames the socket has taken a byte.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames: deque[tuple[bytes | memoryview, S]] = deque()
        self.newest: S | None = None

    def __bool__(self) -> bool:
        return bool(self._frames)

    def __repr__(self) -> str:
        return f"<Outbox {len(self._frames)} frames, {sum(len(each) for each, _ in self._frames)} bytes>"

    def send(self, frames: bytes, sender: S) -> bool:
        """Send these now, or as much of them as the socket takes; nothing else may wait. Whether that was all.

        Raises:
            OSError: nothing can be sent any more.
        """
        self.newest = sender
        try:
            taken = self._sock.send(frames)
        except BlockingIOError:
            taken = 0
        if taken == len(frames):
            sender.sent = True
            return True
        self._frames.append((memoryview(frames)[taken:], sender))
        return False

    def add(self, frames: bytes, sender: S) -> None:
        """Send these after all others, when `flush` is called."""
        self._frames.append((frames, sender))

    def withdraw(self, sender: S) -> bool:
        """Do not send the frames of this one, if the socket has taken no byte of them."""
        if sender is self.newest:
            return False
        for place, (_, each) in enumerate(self._frames):
            if each is sender:
                del self._frames[place]
                return True
        return False

    def flush(self) -> bool:
        """Send what the socket takes now; whether that was all.

        Raises:
            OSError: nothing can be sent any more.
        """
        while self._frames:
            data = self._next()
            try:
                taken = self._sock.send(data)
            except BlockingIOError:
                return False
            self._note(taken)
            if taken < len(data):
                return False
        return True

    def clear(self) -> None:
        """Nothing of it will be sent."""
        self._frames.clear()

    def _next(self) -> bytes | memoryview:
        """The next bytes to send: one long frame, or as many short ones as make one write."""
        first = self._frames[0][0]
        if len(self._frames) == 1 or len(first) >= _TOGETHER:
            return first
        room = _TOGETHER
        parts: list[bytes | memoryview] = []
        for frames, _ in self._frames:
            room -= len(frames)
            if room < 0:
                break
            parts.append(frames)
        return b"".join(parts)

    def _note(self, taken: int) -> None:
        """So many bytes have left."""
        while taken:
            frames, sender = self._frames[0]
            self.newest = sender
            if taken < len(frames):
                self._frames[0] = memoryview(frames)[taken:], sender
                return
            taken -= len(frames)
            sender.sent = True
            self._frames.popleft()

"""The outbox of trio's loop: frames leave whole and in their order, whoever writes and whoever is cancelled.

A writer that is cancelled in the middle of a frame leaves a stream that nobody can read any more. So a frame belongs to
the outbox from the moment it is handed over, and is written to its end by whichever task is there to do so.

Invariants
    1. A frame is written whole before the next one begins, in the order in which they were handed over.
    2. What was handed over leaves without anybody waiting for it, until the loop ends.

Knows one descriptor that does not block. Does not know what the frames say.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

import trio

__all__ = ["Outbox"]


class Outbox:
    """Frames on their way.

    Args:
        fd: where to; it does not block.
        nursery: for tasks that write what a cancelled one left.
        on_broken: called when nobody reads there any more.
    """

    def __init__(self, fd: int, nursery: trio.Nursery, on_broken: Callable[[], object]) -> None:
        self._fd = fd
        self._nursery = nursery
        self._on_broken = on_broken
        self._frames: deque[memoryview] = deque()
        self._writing = trio.Lock()

    async def send(self, frame: bytes) -> None:
        """Write a frame, behind those that wait.

        Cancellation: it is written nevertheless, by a task of its own.
        """
        self._frames.append(memoryview(frame))
        try:
            await self._flush()
        except trio.Cancelled:
            if self._frames:
                self._nursery.start_soon(self._flush)
            raise

    def send_soon(self, frame: bytes) -> None:
        """Hand a frame over, and write what the socket takes at once."""
        self._frames.append(memoryview(frame))
        try:
            done = self._push()
        except OSError:
            return  # nobody reads: the loop finds out by itself
        if not done:
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        async with self._writing:
            try:
                while not self._push():
                    await trio.lowlevel.wait_writable(self._fd)
            except (BrokenPipeError, ConnectionResetError):
                self._on_broken()

    def _push(self) -> bool:
        """Write what the socket takes now; whether that was all."""
        while self._frames:
            try:
                written = os.write(self._fd, self._frames[0])
            except BlockingIOError:
                return False
            rest = self._frames.popleft()[written:]
            if rest:
                self._frames.appendleft(rest)
        return True

"""What a worker prints: read as it comes, logged under the worker's id, the last lines kept for errors.

A pipe that nobody reads stops the worker for good after 64 KiB, and looks like a slow call.

Invariants
    1. No more than one read and one piece of a line is held, however long the line.
    2. Other tasks run at least after every read and after every `_LINES_AT_ONCE` lines.

Knows bytes, lines and logging. Does not know what the lines mean.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import final

import trio

__all__ = ["LONGEST_LINE", "TAIL_LINES", "Output", "drain_lines"]

LONGEST_LINE = 8 * 1024
"""Bytes; what is longer comes in pieces of at most this."""
TAIL_LINES = 50
"""How many of the last lines of standard error are kept."""

_READ_SIZE = 64 * 1024
_LINES_AT_ONCE = 256  # a log handler may take 20 us for each

_log = logging.getLogger("trio_folk.worker")


async def drain_lines(fd: int, emit: Callable[[str], object]) -> None:
    """Read a non-blocking descriptor to its end, line by line.

    Args:
        fd: what is read; it must stay open until this returns or is cancelled.
        emit: called with each line, without its newline; what is not UTF-8 is shown as escapes.

    Always a checkpoint. Cancellation: what was read and not yet emitted is lost.
    """
    rest = b""
    while True:
        await trio.lowlevel.checkpoint()
        try:
            data = os.read(fd, _READ_SIZE)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
            continue
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for number, line in enumerate(lines, 1):
            for piece in _pieces(line):
                emit(_text(piece))
            if number % _LINES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        if len(rest) > LONGEST_LINE:
            *pieces, rest = _pieces(rest)
            for piece in pieces:
                emit(_text(piece))
    if rest:
        emit(_text(rest))


def _pieces(line: bytes) -> Iterator[bytes]:
    start = 0
    while len(line) - start > LONGEST_LINE:
        end = start + LONGEST_LINE
        while end > start + LONGEST_LINE - 3 and line[end] & 0xC0 == 0x80:
            end -= 1  # not within a UTF-8 character, which is at most four bytes
        yield line[start:end]
        start = end
    yield line[start:]


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="backslashreplace")


@final
class Output:
    """The log of one worker's output, and the tail of its standard error.

    Args:
        worker: the worker's id, as it is to stand in the log.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of standard error, oldest first."""
        return tuple(self._tail)

    async def drain_stdout(self, fd: int) -> None:
        """Log everything that comes from this descriptor as standard output; see `drain_lines`."""
        await drain_lines(fd, self.stdout)

    async def drain_stderr(self, fd: int) -> None:
        """Log everything that comes from this descriptor as standard error; see `drain_lines`."""
        await drain_lines(fd, self.stderr)

    def stdout(self, line: str) -> None:
        """Log a line of standard output."""
        self._emit(logging.INFO, "stdout", line)

    def stderr(self, line: str) -> None:
        """Log a line of standard error, and keep it for a while."""
        self._tail.append(line)
        self._emit(logging.WARNING, "stderr", line)

    def _emit(self, level: int, stream: str, line: str) -> None:
        if _log.isEnabledFor(level):
            about = {"worker": self._worker, "stream": stream, "line": line}
            _log.log(level, "[%s %s] %s", self._worker, stream, line, extra=about)

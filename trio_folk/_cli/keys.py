"""Keys: what is typed at a terminal, a key at a time, for as long as somebody listens; then it is as it was.

Knows terminals. Does not know what a key means.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["listening_to_keys", "next_keys"]


@contextmanager
def listening_to_keys() -> Iterator[int | None]:
    """A descriptor on which keys come one by one, unseen; None where there is no terminal. Ctrl-C is still a signal."""
    fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    if fd is None:
        yield None
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


async def next_keys(fd: int) -> str:
    """What is typed next; nothing when the terminal is gone. Cancellation loses none."""
    await trio.lowlevel.wait_readable(fd)
    return os.read(fd, 64).decode("utf-8", "replace")

"""Standard output and the log of a map: where lines go without stopping the event loop.

Knows two descriptors. Does not know what the lines say.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

__all__ = ["complain", "log_to", "write_lines"]

_STDOUT = 1


async def write_lines(lines: Sequence[str]) -> None:
    """Write lines to standard output, in a thread: a pager may keep us waiting for ever.

    Raises:
        BrokenPipeError: nobody reads them any more.

    Cancellation: the thread is left behind, and may yet write; only a program that ends may do so.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    await trio.to_thread.run_sync(_write_whole, data, abandon_on_cancel=True)


def _write_whole(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(_STDOUT, rest) :]


def complain(text: str) -> None:
    """Write to standard error, if anybody reads it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class _Telling(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def log_to(tell: Callable[[str], None] | None) -> None:
    """Tell what workers print; nobody if nobody is to be bothered."""
    log = logging.getLogger("trio_folk")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(logging.NullHandler() if tell is None else _Telling(tell))

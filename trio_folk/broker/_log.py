"""The log: what a daemon prints, in a file beside its record, since nobody holds the other end of a pipe.

Knows a file. Does not know who writes it.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["end_of", "tail_since"]

LONGEST = 1024 * 1024
"""Bytes beyond which a log is begun anew at a launch."""
KEPT_LINES = 50
KEPT_BYTES = 16 * 1024


def end_of(path: str) -> int:
    """How long it is, where the next daemon's own words begin; a log that grew too long is emptied."""
    try:
        size = os.lstat(path).st_size
    except OSError:
        return 0
    if size > LONGEST:
        with suppress(OSError):
            os.replace(path, f"{path}.old")
            return 0
    return size


def tail_since(path: str, start: int) -> tuple[str, ...]:
    """The last lines that were written since then."""
    try:
        with open(path, "rb", opener=_opener) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - KEPT_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-KEPT_LINES:])


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)

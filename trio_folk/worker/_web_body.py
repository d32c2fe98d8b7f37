"""A request's body as a file: what came with the request, then what the call is fed.

Knows the running call. Does not know WSGI.
"""

from __future__ import annotations

import io

from ._current import CurrentCall, current_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["body_of"]

_BUFFER = 65536  # bytes, as a piece has


def body_of(first: bytes) -> io.BufferedIOBase:
    """The body of the request that runs now, of which this much came with it."""
    call = current_call()
    return io.BufferedReader(_Fed(first, call), _BUFFER) if call.fed else io.BytesIO(first)


class _Fed(io.RawIOBase):
    """A file of pieces, each read once."""

    def __init__(self, first: bytes, call: CurrentCall) -> None:
        self._rest = memoryview(first)
        self._call: CurrentCall | None = call

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest and self._call is not None:
            self._rest = memoryview(self._call.receive())
            if not self._rest:
                self._call = None  # the end is told once
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

"""The pipes for a forked worker's standard output and error: what it prints is logged as its own.

Knows descriptors. Does not know what is written to them.
"""

from __future__ import annotations

import os
from types import TracebackType

from .._errors import BootFailed

__all__ = ["Streams"]


class Streams:
    """Two pipes, closed together when the block is left; every end is close-on-exec (PEP 446).

    Attributes:
        readers: what the parent reads standard output and standard error from; they do not block.
        writers: what the worker gets.
    """

    def __init__(self) -> None:
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
        except OSError as error:
            _close(ends)
            raise BootFailed(f"no pipes for the worker: {error.strerror}", stage="launch") from error
        self.readers, self.writers = ends[0::2], ends[1::2]
        for descriptor in self.readers:
            os.set_blocking(descriptor, False)

    def close_child_ends(self) -> None:
        """The child has its own copies; end of file comes only when ours are closed."""
        _close(self.writers)

    def __enter__(self) -> Streams:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self.readers)
        _close(self.writers)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())

"""The two socketpairs of a worker: task on descriptor 3, control on descriptor 4 of the child.

Knows sockets. Does not know what is said over them.
"""

from __future__ import annotations

import socket
from types import TracebackType

from .._errors import BootFailed

__all__ = ["Sockets"]

_FULL = "raise the limit of open files (`ulimit -n`), or use fewer slots; each worker takes five descriptors"


class Sockets:
    """Both pairs, closed together when the block is left; every end is close-on-exec (PEP 446)."""

    def __init__(self) -> None:
        try:
            self.task, self.child_task = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise BootFailed(
                f"no sockets for the worker: {error.strerror}", stage="launch", hint=_FULL
            ) from error
        try:
            self.control, self.child_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            self.task.close()
            self.child_task.close()
            raise BootFailed(
                f"no sockets for the worker: {error.strerror}", stage="launch", hint=_FULL
            ) from error
        self.task.setblocking(False)
        self.control.setblocking(False)

    def close_child_ends(self) -> None:
        """The child has its own copies; end of file comes only when ours are closed."""
        self.child_task.close()
        self.child_control.close()

    def __enter__(self) -> Sockets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.task.close()
        self.control.close()
        self.close_child_ends()

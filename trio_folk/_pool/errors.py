"""The pool's refusals and clocks that are also trio's errors, so that ``except trio.TooSlowError`` works.

They live here and not with the other errors because a worker must not import trio to have those.
"""

from __future__ import annotations

import trio

from .._errors import FolkError

__all__ = ["ExecTimeout", "PoolBusy", "QueueTimeout"]


class PoolBusy(FolkError, trio.WouldBlock):
    """No ready slot is idle, and the call may not wait: its queue timeout is 0, or the queue is full."""


class QueueTimeout(FolkError, trio.TooSlowError):
    """No slot took the call within its ``queue_timeout``; it never ran."""


class ExecTimeout(FolkError, trio.TooSlowError):
    """The call ran longer than its ``exec_timeout``; its worker is ended, and the slot gets a new one."""

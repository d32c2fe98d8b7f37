"""The status for every way in which a call can end without a response.

Whoever reads a log of 500s cannot tell a broken view from a pool that is full; a client that gets a 503 may come
again, and after a 502 its request may have had effects. So each end has its own status, in one table.

Knows errors and numbers. Does not know requests.
"""

from __future__ import annotations

import math

from .._errors import CrashLoop, PoolClosed, ProtocolError, WorkerDied
from .._pool import ExecTimeout, PoolBusy, QueueTimeout
from ._request import Refused

__all__ = ["Outcome", "outcome_of"]

Outcome = tuple[int, str, float | None]
"""A status, what the client is told, and after how many seconds it may come again, if that is known."""

SOON = 1.0
"""Seconds after which a pool that was full, or is being closed, is asked again."""
_LONGEST = 3600.0

_TABLE: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...] = (
    ((PoolBusy, QueueTimeout), 503, "all workers are busy"),
    (PoolClosed, 503, "the server is being stopped"),
    (CrashLoop, 503, "no worker can be started"),
    (ExecTimeout, 504, "the application took too long"),
    (WorkerDied, 502, "the worker ended while it ran the request"),
    (ProtocolError, 502, "the worker gave no response that can be sent"),
)


def outcome_of(error: Exception) -> Outcome:
    """What a client is told when a request ended with this error."""
    if isinstance(error, Refused):
        return error.status, error.message, None
    for kinds, status, message in _TABLE:
        if isinstance(error, kinds):
            return status, message, _retry_after(error) if status == 503 else None
    return 500, "the application failed", None


def _retry_after(error: Exception) -> float:
    seconds = getattr(error, "retry_after", SOON)
    return min(max(math.ceil(seconds), SOON), _LONGEST) if seconds < math.inf else _LONGEST

"""Why a reload stops at its canary, with all that is known of the new worker: which, how it ended, its last lines.

Knows errors and handles. Does not know what a reload does.
"""

from __future__ import annotations

import trio

from .._errors import FolkError, ReloadFailed, WorkerDied
from .incarnation import Incarnation

__all__ = ["early_end", "failed_check"]

AUTOPSY = 1.0
"""Seconds that a failed reload waits to learn how its new worker died."""


def failed_check(new: Incarnation, error: Exception) -> ReloadFailed:
    """What the check said of the new worker, and what is known of the worker itself."""
    told = error.message if isinstance(error, FolkError) else repr(error)
    failure = ReloadFailed(f"the check of the new worker failed: {told}")
    _note_worker(failure, new)
    if isinstance(error, WorkerDied):
        failure._inherit(error)
    failure.remote_traceback = getattr(error, "remote_traceback", None)
    failure.stage = "check"
    return failure


async def early_end(new: Incarnation) -> ReloadFailed:
    """It was ready, and has ended since."""
    with trio.move_on_after(AUTOPSY):
        await new.handle.ended.wait()
    failure = ReloadFailed(f"the new worker ended before it took over: {new.handle.reason}", stage="check")
    _note_worker(failure, new)
    return failure


def _note_worker(failure: ReloadFailed, new: Incarnation) -> None:
    handle = new.handle
    failure.worker, failure.pid, failure.generation = str(handle.id), handle.pid, handle.generation
    failure.stderr = handle.stderr
    if handle.exit is not None:
        failure.exit_code, failure.signal = handle.exit.code, handle.exit.signal

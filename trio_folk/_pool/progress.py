"""Progress: what a job reports reaches its caller's callback, and what that raises reaches the caller.

Reports are read by whoever reads the worker's socket just then, which may be another caller's task. An error of one
caller's callback must not end that one's call, and a callback must not see another's context variables.

Invariants
    1. A callback runs in its caller's context, and what it raises ends its caller's call and no other.
    2. After it has raised it is not called again.

Knows one callback. Does not know jobs' kinds, workers or sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

import trio

from ..abc import Job

__all__ = ["JobProgress", "reporting"]

JobProgress = Callable[[float, float | None], object]


async def reporting(job: Job, callback: JobProgress | None, run: Callable[[Job], Awaitable[Any]]) -> Any:
    """Run a job whose reports go to this callback; return what it returned.

    Raises:
        BaseException: what the callback raised; the job was cancelled then. Else whatever `run` raises.

    Cancellation: as `run`.
    """
    if callback is None:
        return await run(job)
    context, scope = copy_context(), trio.CancelScope()
    failure: BaseException | None = None

    def tell(done: float, total: float | None) -> None:
        nonlocal failure
        if failure is not None:
            return
        try:
            context.run(callback, done, total)
        except BaseException as error:
            failure = error
            scope.cancel()

    job.progress = tell
    result = None
    try:
        with scope:
            result = await run(job)
    finally:
        job.progress = None
        if failure is not None:
            raise failure
    return result

"""New code for a map that goes on: wait until its files have changed, and until workers of the new code serve.

The workers of a map are ready whatever their target is (`remote`), so it is a check that keeps the old ones where
the new code has no such function, or cannot even be imported.

Knows a pool and changes of files. Does not know items.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from .._errors import FolkError, ReloadFailed
from .._pool import Lease, WorkerPool
from .._pool.changes import Changes, open_changes
from .._pool.watching import DEBOUNCE, forget_compiled, named

__all__ = ["Sources", "open_sources"]


class Sources:
    """The files of a target, whose changes a pool is to follow."""

    def __init__(
        self, pool: WorkerPool, changes: Changes, paths: Sequence[str], tell: Callable[[str], None]
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._paths = paths
        self._tell = tell
        self._told: dict[str, Any] = {}

    async def renewed(self) -> dict[str, Any]:
        """Wait until the files have changed and new code serves; what it tells of its target.

        Cancellation: workers are of the old code or of the new.
        """
        while True:
            self._tell(f"watching {named(self._paths)}; Ctrl-C ends")
            changed = await self._changes.settle(DEBOUNCE)
            forget_compiled(changed)
            self._tell(f"{named(changed)} changed")
            self._told = {}
            try:
                await self._pool.reload(self._check)
            except ReloadFailed as error:
                self._tell(self._refusal(error))
            else:
                return self._told

    async def _check(self, worker: Lease) -> None:
        self._told = await worker.execute("target")
        if "error" in self._told:
            raise LookupError(self._told["error"]["message"])

    def _refusal(self, failure: ReloadFailed) -> str:
        error = self._told.get("error", {"message": str(failure), "traceback": ""})
        return f"{error['traceback']}the new code is not used: {error['message']}"


@asynccontextmanager
async def open_sources(
    pool: WorkerPool, paths: Sequence[str], tell: Callable[[str], None]
) -> AsyncIterator[Sources]:
    """Watch the files of a target; what changes inside the block is not missed.

    Raises:
        FolkError: they cannot be watched.
    """
    if not paths:
        raise FolkError("the target has no file that could be watched", hint="name one: --watch-path PATH")
    try:
        async with open_changes(*paths) as changes:
            yield Sources(pool, changes, paths, tell)
    except FileNotFoundError as error:
        raise FolkError(f"{error.filename} cannot be watched: {error.strerror}") from error

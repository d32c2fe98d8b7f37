"""The items of a map over a shared pool: each is a call of its own, as many at once as the daemon takes.

Knows how one call is made. Does not know links or daemons.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..abc import ChunkReply, Job

__all__ = ["SharedItems"]


class _Item(Job):
    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args


class SharedItems:
    """How a map sends its items here; what `trio_folk._pool.lanes` calls a Sending."""

    def __init__(
        self, call: Callable[[tuple[Any, ...]], Awaitable[Any]], *, parallel: int, window: int | None
    ) -> None:
        self.size = 1
        self._call = call
        self._parallel = parallel
        self._window = window or 2 * parallel

    @property
    def window(self) -> int:
        """How many items may be taken and not handed out."""
        return self._window

    @property
    def parallel(self) -> int:
        """How many calls may be under way."""
        return min(self._parallel, self._window)

    def prepare(self, items: Sequence[tuple[Any, ...]]) -> tuple[Job, int]:
        """The call for the first of them."""
        return _Item(items[0]), 1

    async def run(self, job: Job, count: int) -> ChunkReply:
        """Make it."""
        assert isinstance(job, _Item)
        return ChunkReply([await self._call(job.args)], {}, 0.0)

    def alone(self, count: int) -> bool:
        """One item is never more than itself."""
        return False

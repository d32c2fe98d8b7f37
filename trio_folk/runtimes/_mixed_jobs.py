"""Mixed jobs: one call as each part of a mixed runtime sends it.

A job of one runtime means nothing to a worker of another. Which part gets a call is known when it has a worker; that
it can be sent at all should be known before. So a job is made for the first part at once, and for another when needed.

Invariants
    1. A call is encoded at most once for each part, and never for one that does not get it, but the first.
    2. What a caller sets on the job, and what is reported to it, is set on and comes from the part's own.

Knows jobs and handles by their interface. Does not know runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import trio

from .._errors import FolkError, RemoteError
from ..abc import Chunk, ChunkReply, Job, NotStarted, Stream, WorkerHandle

__all__ = ["MixedChunk", "MixedJob", "MixedStream"]


class MixedJob(Job):
    """A call for whichever part gets it.

    Args:
        makers: how each part makes its own job of it; the first is asked now, and raises what it has to.
    """

    def __init__(self, makers: Sequence[Callable[[], Job]]) -> None:
        self._makers = makers
        self._first = makers[0]()
        self._jobs = {0: self._first}

    def __repr__(self) -> str:
        return f"<MixedJob {self._first!r}>"

    @property
    def size(self) -> int:
        return self._first.size

    async def run(self, part: int, handle: WorkerHandle) -> Any:
        """Run it on a worker of this part."""
        job = self._jobs.get(part)
        if job is None:
            job = self._jobs[part] = self._makers[part]()
        self._hand_over(job)
        return await handle.execute(job)

    def _hand_over(self, job: Job) -> None:
        job.context, job.begun = self.context, self.begun
        job.progress = self._report if self.progress is not None else None

    def _report(self, done: float, total: float | None) -> None:
        if self.progress is not None:  # whoever asked may have gone
            self.progress(done, total)


class MixedChunk(MixedJob, Chunk):
    """Several items for whichever part gets them; a part may take fewer of them than the first one would.

    Args:
        first: the first part's chunk.
        makers: how each part makes a chunk of the same items, or None.
        alone: how each part makes a call of the first item alone, where it makes no chunks.
    """

    def __init__(
        self,
        first: Chunk,
        makers: Sequence[Callable[[], Chunk | None]],
        alone: Sequence[Callable[[], Job]],
    ) -> None:
        super().__init__([lambda: first])
        self.count = first.count
        self._chunks = makers
        self._alone = alone

    async def run(self, part: int, handle: WorkerHandle) -> Any:
        if part not in self._jobs:
            chunk = self._chunks[part]()
            if chunk is None:
                return await self._run_one(self._alone[part](), handle)
            self._jobs[part] = chunk
        return await super().run(part, handle)

    async def _run_one(self, job: Job, handle: WorkerHandle) -> ChunkReply:
        """The first item; the others are handed back as not started."""
        self._hand_over(job)
        began = perf_counter()
        try:
            value = await handle.execute(job)
        except NotStarted:
            raise
        except Exception as error:
            if isinstance(error, FolkError) and not isinstance(error, RemoteError):
                raise  # it is not the function's
            return ChunkReply([None], {0: error}, perf_counter() - began)
        return ChunkReply([value], {}, perf_counter() - began)


class MixedStream(MixedJob, Stream):
    """A stream for whichever part gets it. It is read from the part that was given it last; no other has sent it."""

    _first: Stream

    def __init__(self, makers: Sequence[Callable[[], Stream]]) -> None:
        super().__init__(makers)
        self._left = False
        self._now = self._first
        self._giving: trio.CancelScope | None = None

    @property
    def sent(self) -> bool:  # type: ignore[override]
        """Whether that part has sent it."""
        return self._now.sent

    @property
    def waiting(self) -> int:
        return self._now.waiting

    def take(self) -> Any:
        return self._now.take()

    def leave(self) -> None:
        self._left = True
        self._now.leave()

    async def give(self, data: bytes) -> None:
        while True:
            with trio.CancelScope() as self._giving:
                await self._now.give(data)
                return
            # another part has it now, and the one before never began: it has taken nothing

    def _hand_over(self, job: Job) -> None:
        super()._hand_over(job)
        assert isinstance(job, Stream)
        if self._giving is not None and job is not self._now:
            self._giving.cancel()
        job.on_news, self._now = self._tell, job
        if self._left:
            job.leave()

    def _tell(self) -> None:
        if self.on_news is not None:
            self.on_news()

"""Chunks: how many items of a map go into one call, and the call itself.

A call costs what fifty tiny items cost, and a chunk of slow items holds back all that could have run elsewhere. So
a chunk is as long as the last ones say that five milliseconds are, doubling from one item.

Invariants
    1. An item that may have run is not run again, unless its caller allowed it; then it is run by itself.
    2. A chunk never has more items than keep every slot supplied from the window.
    3. An item that its runtime would not put into a chunk, for it is large or there are none, is a call of its own.

Knows the core, jobs and what comes back. Does not know who hands out the results, or what a job holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .._errors import FolkError, WorkerDied
from ..abc import ChunkReply, Job, WorkerHandle
from . import calls
from .core import Core
from .lines import Place

__all__ = ["Chunks"]

TARGET = 0.005
"""Seconds that a chunk should take: what cancellations and other calls can wait for, and a hundred times a call."""

CUT = 2 * TARGET
"""Seconds after which a chunk that turned out slow hands back what it has not started."""

LARGEST = 250
"""Items in a chunk at most: what one death costs, what a slow item can hold back, and what stands still the loop for a
quarter of a millisecond while it is pickled. Four times as many are a third faster."""


class Chunks:
    """The calls of one map.

    Args:
        fn: the function.
        chunk: items in each; ``"auto"`` measures.
        window: items taken and not handed out, or None.
        stop: nothing is wanted after the first failure.
        exec_timeout: seconds for each item, or None for the pool's.
        place: how far in front its calls wait, or None.

    Attributes:
        size: items that the next chunk should have.
    """

    def __init__(
        self,
        core: Core,
        fn: Callable[..., Any],
        *,
        chunk: int | Literal["auto"],
        window: int | None,
        stop: bool,
        exec_timeout: float | None,
        idempotent: bool,
        place: Place | None = None,
    ) -> None:
        calls.check_timeouts(exec_timeout, None)
        self._core = core
        self._fn = fn
        self._stop = stop
        self._idempotent = idempotent
        self._place = place
        self._exec_timeout = core.config.exec_timeout if exec_timeout is None else exec_timeout
        if chunk == "auto" and self._exec_timeout < math.inf:
            chunk = 1  # a clock that runs out ends a worker, and with it whatever else the chunk held
        self._fixed = None if chunk == "auto" else min(chunk, window or chunk)
        self._window = window
        self._largest = LARGEST if window is None else max(1, min(LARGEST, window // self._supply()))
        self.size: int = self._fixed or 1

    @property
    def window(self) -> int:
        """How many items may be taken and not handed out."""
        return self._window or self._supply() * self.size

    @property
    def parallel(self) -> int:
        """How many chunks may be under way."""
        return self._supply() if self._fixed is None else max(1, self.window // self._fixed)

    def _supply(self) -> int:
        """Two chunks for each seat: one that runs, and one ready for when that is done."""
        slots = self._core.slots
        seats = next((slot.incarnation.concurrency for slot in slots if slot.incarnation is not None), 1)
        return 2 * len(slots) * seats

    def prepare(self, items: Sequence[tuple[Any, ...]]) -> tuple[Job, int]:
        """A call for the first of these items, and how many it holds.

        Raises:
            Exception: the first cannot be sent.
        """
        runtime = self._core.runtime
        if self._fixed != 1:
            seconds = CUT if self._fixed is None else math.inf
            chunk = runtime.prepare_chunk(self._fn, items, seconds=seconds, stop=self._stop)
            if chunk is not None:
                return chunk, chunk.count
            self.size = 1  # the next one may be like it
            if self._fixed is not None:
                self._fixed = 1
        return runtime.prepare_python(self._fn, items[0], {}), 1

    async def run(self, job: Job, count: int) -> ChunkReply:
        """Run a prepared call, and learn from how long it took.

        Raises:
            WorkerDied: it has a hint that says what that means for a chunk.

        And whatever else `calls.run` raises.
        """
        again = self.alone(count)
        seconds = self._exec_timeout * count
        try:
            reply = await calls.run(
                self._core,
                job,
                seconds,
                None,
                self._idempotent and not again,
                insist=True,
                place=self._place,
                heard=self._heard,
            )
        except WorkerDied as error:
            if count > 1:
                error.hint = (
                    f"it had {count} items of a map, each of which may have run: pass idempotent=True if they may run "
                    "again, or chunk=1 to lose one at most"
                )
            raise
        if not isinstance(reply, ChunkReply):
            return ChunkReply([reply], {}, 0.0)
        self._learn(count, len(reply.values), reply.seconds)
        return reply

    def alone(self, count: int) -> bool:
        """Whether its items are run again one by one if the worker dies: then the one that kills it fails alone."""
        return self._idempotent and count > 1

    def _heard(self, reply: Any, handle: WorkerHandle) -> None:
        """Let each item be a call, in the errors and in the statistics."""
        if not isinstance(reply, ChunkReply):
            return
        for error in reply.failures.values():
            if isinstance(error, FolkError):
                error.worker, error.pid, error.generation = str(handle.id), handle.pid, handle.generation
        counts, failed = self._core.counts, len(reply.failures)
        counts.failed += failed
        counts.succeeded += len(reply.values) - failed - 1

    def _learn(self, count: int, ran: int, seconds: float) -> None:
        if self._fixed is not None:
            return
        fitting = int(ran * TARGET / seconds) if seconds > 0 else self._largest
        most = max(self.size, 2 * ran) if ran == count else ran
        self.size = max(1, min(fitting, most, self._largest))

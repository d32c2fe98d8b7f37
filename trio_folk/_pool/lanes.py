"""Lanes: tasks that run one chunk after another, as long as items wait.

A lane looks for items only when it runs, so what an iterable brings in one go becomes one chunk; and it pickles them
before it waits for a worker, so that the next chunk is ready when a worker is.

Invariants
    1. Chunks are begun in the order of their items; what was handed back goes before all others.
    2. While so many bytes are under way, no further call is begun.

Knows chunks and the board. Does not know where items come from, or workers.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import trio

from .._errors import FolkError, WorkerDied
from ..abc import ChunkReply, Job
from .board import Board, Failed

__all__ = ["IN_FLIGHT", "Items", "Lanes", "Sending"]

Items = list[tuple[Any, ...]]

IN_FLIGHT = 32 << 20
"""Bytes of arguments under way, above which no further call is begun."""


class Sending(Protocol):
    """How items are sent: `Chunks`, or what stands in for it where the pool is elsewhere.

    Attributes:
        size: items that the next call should have.
    """

    size: int

    @property
    def window(self) -> int:
        """How many items may be taken and not handed out."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls may be under way."""
        ...

    def prepare(self, items: Sequence[tuple[Any, ...]]) -> tuple[Job, int]:
        """A call for the first of these items, and how many it holds."""
        ...

    async def run(self, job: Job, count: int) -> ChunkReply:
        """Run a prepared call."""
        ...

    def alone(self, count: int) -> bool:
        """Whether its items are run again one by one if the worker dies."""
        ...


class Lanes:
    """What runs the items of one map.

    Attributes:
        pending: items taken and never sent; whoever adds some calls `look`.
    """

    def __init__(self, chunks: Sending, board: Board, nursery: trio.Nursery) -> None:
        self.pending: deque[tuple[Any, ...]] = deque()
        self._first = 0  # the number of the first of them
        self._again: deque[tuple[int, Items]] = deque()
        self._chunks = chunks
        self._board = board
        self._nursery = nursery
        self._lanes = 0
        self._starting = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Lanes: {self._lanes} in use, {len(self.pending)} items pending>"

    def look(self) -> None:
        """Items wait: have enough lanes for them."""
        size = self._chunks.size
        waiting = -(-len(self.pending) // size)
        if self._again:
            waiting += sum(-(-len(items) // size) for _, items in self._again)
        while self._starting < waiting and self._lanes < self._chunks.parallel:
            self._lanes += 1
            self._starting += 1
            self._nursery.start_soon(self._lane)

    async def _lane(self) -> None:
        self._starting -= 1
        while (claimed := self._claim()) is not None:
            await self._run(*claimed)
        self._lanes -= 1

    def _claim(self) -> tuple[int, Items] | None:
        """The number of the next item, and as many as may be one chunk."""
        if self._board.failing and self.pending:
            self._board.drop(len(self.pending))  # they are behind whatever failed
            self.pending.clear()
        if self._bytes >= IN_FLIGHT:
            return None  # the lanes that hold them go on
        size = self._chunks.size
        if self._again:
            first, items = self._again.popleft()
            if len(items) > size:
                self._again.appendleft((first + size, items[size:]))
            return first, items[:size]
        pending, first = self.pending, self._first
        items = [pending.popleft() for _ in range(min(size, len(pending)))]
        self._first += len(items)
        return (first, items) if items else None

    async def _run(self, first: int, items: Items) -> None:
        """Run as many of them as make one call; the others go back."""
        try:
            job, count = self._chunks.prepare(items)
        except Exception as error:
            self._give_back(first + 1, items[1:])
            self._board.settle(first, [Failed(error)])
            return
        self._give_back(first + count, items[count:])
        del items[count:]
        self._bytes += job.size
        try:
            reply = await self._chunks.run(job, count)
        except WorkerDied as error:
            if self._chunks.alone(count):
                self._again.extend((first + place, [item]) for place, item in enumerate(items))
                self.look()
            else:
                self._board.settle(first, _failures(error, count))
        except Exception as error:
            self._board.settle(first, _failures(error, count))
        else:
            for place, each in reply.failures.items():
                reply.values[place] = Failed(each)
            self._board.settle(first, reply.values)
            self._hand_back(first, items, len(reply.values), failed=bool(reply.failures))
        finally:
            self._bytes -= job.size

    def _hand_back(self, first: int, items: Items, ran: int, *, failed: bool) -> None:
        """The worker has not started the last of them."""
        if ran == len(items):
            return
        if failed and self._board.failing:
            self._board.drop(len(items) - ran)
        else:
            self._again.append((first + ran, items[ran:]))
            self.look()

    def _give_back(self, first: int, items: Items) -> None:
        """They were claimed, and did not fit: nothing was claimed since."""
        if not items:
            return
        if first + len(items) == self._first:
            self.pending.extendleft(reversed(items))
            self._first = first
        else:
            self._again.appendleft((first, items))
        self.look()


def _failures(error: Exception, count: int) -> list[Failed]:
    """The error for each of so many items; of ours each gets its own, for tracebacks grow where they are raised."""
    failures = [Failed(error)]
    for _ in range(count - 1):
        twin = copy.copy(error) if isinstance(error, FolkError) else error
        failures.append(Failed(twin))
    return failures

"""Map: the same function over many items, lazily, a bounded number at a time.

A map that reads its whole input first, or keeps every result until the last is there, fills the memory of
whoever gave it an infinite iterable. The window bounds both: items taken and not yet handed out.

Invariants
    1. At most ``window`` items are taken from the iterables and not yet handed out.
    2. Once an item has failed and its error is to be raised, no further item is taken.
    3. Leaving the block cancels what still runs.

Knows a coroutine that runs one item. Does not know pools or workers.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, NoReturn, TypeVar

import outcome
import trio

from .background import open_background

__all__ = ["MapResults", "open_map"]

T = TypeVar("T")


class MapResults(Generic[T]):
    """The results of a map, as an async iterator."""

    def __init__(self, *, ordered: bool, outcomes: bool, window: int) -> None:
        self._ordered = ordered
        self._outcomes = outcomes
        self._room = trio.Semaphore(window)
        self._done: dict[int, outcome.Outcome[Any]] = {}
        self._finished: deque[int] = deque()
        self._next = 0
        self._running = 0
        self._fed = False
        self._input_error: Exception | None = None
        self._failing = False  # an item failed: take no more
        self._stopped = False  # its error was raised: hand out no more
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<MapResults {self._next} handed out, {len(self._done)} waiting, {self._running} running>"

    def __aiter__(self) -> MapResults[T]:
        return self

    async def __anext__(self) -> T:
        """The next result: in the order of the items, or as they come with ``ordered=False``.

        Always a checkpoint. Cancellation: no result is lost; the map goes on until its block is left.
        """
        await trio.lowlevel.checkpoint()
        if self._stopped:
            raise StopAsyncIteration
        while (index := self._available()) is None:
            if self._fed and not self._running and not self._done:
                self._end()
            await self._changed.wait()
        result = self._done.pop(index)
        self._next += 1
        self._room.release()
        if self._outcomes:
            return result  # type: ignore[return-value]  # T is an Outcome then
        if isinstance(result, outcome.Error):
            self._stopped = True
        value: T = result.unwrap()
        return value

    def _available(self) -> int | None:
        if self._ordered:
            return self._next if self._next in self._done else None
        return self._finished.popleft() if self._finished else None

    def _end(self) -> NoReturn:
        error, self._input_error = self._input_error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _feed(
        self, items: Iterator[tuple[Any, ...]], run: Callable[..., Awaitable[Any]], nursery: trio.Nursery
    ) -> None:
        try:
            for index in itertools.count():
                await self._room.acquire()
                if self._failing or (args := next(items, None)) is None:
                    break
                self._running += 1
                nursery.start_soon(self._one, index, args, run)
        except (
            Exception
        ) as error:  # the iterables' own: raised to whoever iterates, after what came before it
            self._input_error = error
        finally:
            self._fed = True
            self._wake()

    async def _one(self, index: int, args: tuple[Any, ...], run: Callable[..., Awaitable[Any]]) -> None:
        result: outcome.Outcome[Any]
        try:
            result = outcome.Value(await run(args))
        except Exception as error:
            result = outcome.Error(error)
        self._running -= 1
        if isinstance(result, outcome.Error) and not self._outcomes:
            self._failing = True  # invariant 2
        self._done[index] = result
        if not self._ordered:
            self._finished.append(index)
        self._wake()


@asynccontextmanager
async def open_map(
    run: Callable[[tuple[Any, ...]], Awaitable[Any]],
    iterables: tuple[Iterable[Any], ...],
    *,
    ordered: bool,
    outcomes: bool,
    window: int,
) -> AsyncIterator[MapResults[Any]]:
    """Run every item through ``run``; the block gets the results."""
    results: MapResults[Any] = MapResults(ordered=ordered, outcomes=outcomes, window=window)
    async with open_background() as nursery:
        nursery.start_soon(results._feed, zip(*iterables, strict=False), run, nursery)
        yield results

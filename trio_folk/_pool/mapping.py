"""Map: the same function over many items, lazily, a bounded number at a time.

A map that reads its whole input first, or keeps every result until the last is there, fills the memory of
whoever gave it an infinite iterable. The window bounds both: items taken and not yet handed out.

Invariants
    1. At most a window of items is taken from the iterables and not yet handed out.
    2. Once an item has failed and its error is to be raised, no further item is taken.
    3. Leaving the block cancels what still runs.

Knows iterables, the board and the lanes. Does not know pools, workers, or how items are sent.
Picture: docs/design/map.md
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Generic, NoReturn, TypeVar

import outcome
import trio

from .background import open_background
from .board import Board, Failed, Progress
from .feeding import BURST, Feed
from .lanes import Lanes, Sending

__all__ = ["MapResults", "open_map"]

T = TypeVar("T")

FAIRNESS = 0.0002
"""Seconds of real time for which results are handed out without another task getting its turn."""


class MapResults(Generic[T]):
    """The results of a map, as an async iterator."""

    _board: Board
    _outcomes: bool
    _stopped = False  # an error was raised: hand out no more
    _switch = 0.0  # when other tasks must get their turn

    def __init__(self) -> None:
        raise TypeError("results come from a map: `async with pool.map(fn, items) as results`")

    @classmethod
    def _of(cls, board: Board, *, outcomes: bool) -> MapResults[Any]:
        results: MapResults[Any] = object.__new__(cls)
        results._board = board
        results._outcomes = outcomes
        return results

    def __repr__(self) -> str:
        board = self._board
        return (
            f"<MapResults {board.finished} finished, {board.open} to come, {len(board.available)} available>"
        )

    def __aiter__(self) -> MapResults[T]:
        return self

    async def __anext__(self) -> T:
        """The next result: in the order of the items, or as they come with ``ordered=False``.

        Always notices a cancellation; other tasks run before it returns, or did within the last 0.2 ms.
        Cancellation: no result is lost; the map goes on until its block is left.
        """
        if perf_counter() > self._switch:
            await trio.lowlevel.checkpoint()
            self._switch = perf_counter() + FAIRNESS
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        board = self._board
        if self._stopped:
            raise StopAsyncIteration
        while not board.available:
            if not board.open and (board.fed or board.failing):
                self._end()
            await board.wait_for_news()
            self._switch = perf_counter() + FAIRNESS
        result: Any = board.available.popleft()
        board.held -= 1
        if board.held <= board.enough:
            board.make_room()
        if type(result) is Failed:
            return self._failed(result.error)
        if self._outcomes:
            result = outcome.Value(result)
        value: T = result
        return value

    def _failed(self, error: Exception) -> T:
        if self._outcomes:
            return outcome.Error(error)  # type: ignore[return-value]  # T is an Outcome then
        self._stopped = True
        raise error

    def _end(self) -> NoReturn:
        error, self._board.error = self._board.error, None
        if error is not None:
            raise error
        raise StopAsyncIteration


async def _feed(feed: Feed, chunks: Sending, board: Board, lanes: Lanes) -> None:
    """Take the items. What the iterables raise is for whoever iterates, after what came before it."""
    try:
        await (_take_awaited if feed.asynchronous else _take)(feed, chunks, board, lanes)
    except Exception as error:
        board.note_end(error)
    else:
        board.note_end()


async def _take(feed: Feed, chunks: Sending, board: Board, lanes: Lanes) -> None:
    more = True
    while more:
        await trio.lowlevel.checkpoint()
        await board.wait_for_room(chunks.window - chunks.size)
        if board.failing:
            return
        before = len(lanes.pending)
        try:
            more = feed.take(chunks.window - board.held, lanes.pending)
        finally:
            board.note_taken(len(lanes.pending) - before)
            lanes.look()


async def _take_awaited(feed: Feed, chunks: Sending, board: Board, lanes: Lanes) -> None:
    switch = 0.0
    while True:
        if perf_counter() > switch or board.held >= chunks.window:
            await trio.lowlevel.checkpoint()
            await board.wait_for_room(chunks.window - 1)
            switch = perf_counter() + BURST
        if board.failing or (item := await feed.next()) is None:
            return
        lanes.pending.append(item)
        board.note_taken(1)
        lanes.look()


@asynccontextmanager
async def open_map(
    iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
    chunks: Sending,
    *,
    ordered: bool,
    outcomes: bool,
    progress: Progress | None,
) -> AsyncIterator[MapResults[Any]]:
    """Run every item; the block gets the results."""
    feed = Feed(iterables)
    board = Board(ordered=ordered, stop=not outcomes, progress=progress, total=feed.total)
    async with open_background() as nursery:
        nursery.start_soon(_feed, feed, chunks, board, Lanes(chunks, board, nursery))
        yield MapResults._of(board, outcomes=outcomes)

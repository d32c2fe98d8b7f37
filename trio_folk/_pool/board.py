"""The board of a map: what was taken, what is finished, and what may be handed out.

Chunks finish in any order, and some of them only in part. Here each item has a number, and every number is in one
place: to come, waiting for those before it, or available.

Invariants
    1. ``held`` counts what was taken and not handed out, ``open`` what of that has no result yet.
    2. Once an item has failed and its error is to be raised, ``failing`` says that nothing more is wanted.

Every method but the wait for room is synchronous. Knows numbers and results. Does not know where they come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

__all__ = ["Board", "Failed", "Progress"]

Progress = Callable[[int, int | None], object]


class Failed:
    """What stands among the results for an item that failed."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Board:
    """The items of one map.

    Args:
        ordered: whether results become available in the order of the items.
        stop: whether a failure ends the map.
        progress: told how many items are finished, and of how many where that is known.

    Attributes:
        available: results that may be handed out, the next one first.
        total: how many items there are, where that is known.
        fed: no more items will be taken.
        error: what ended the input, or the callback's own error: raised after what came before it.
    """

    def __init__(
        self, *, ordered: bool, stop: bool, progress: Progress | None, total: int | None = None
    ) -> None:
        self.available: deque[Any] = deque()
        self.total = total
        self.held = self.open = self.finished = 0
        self.failing = self.fed = False
        self.error: Exception | None = None
        self.enough = -1  # of ``held``: whoever waits for room has it then
        self._ordered = ordered
        self._stop = stop
        self._progress = progress
        self._waiting: dict[int, list[Any]] = {}  # by the number of the first
        self._due = 0  # the number of the next that becomes available
        self._room = trio.Event()
        self._news: trio.Event | None = None

    def __repr__(self) -> str:
        waiting = len(self.available) + sum(map(len, self._waiting.values()))
        return f"<Board: {self.finished} finished, {waiting} waiting, {self.open} to come>"

    # -- who takes items

    def note_taken(self, count: int) -> None:
        """So many more were taken."""
        self.held += count
        self.open += count

    async def wait_for_room(self, held: int) -> None:
        """Return when no more than so many are held, or nothing more is wanted.

        Cancellation leaves nothing behind.
        """
        while self.held > held and not self.failing:
            self.enough = held
            self._room = trio.Event()
            await self._room.wait()
        self.enough = -1

    def make_room(self) -> None:
        """Enough was handed out for whoever waits."""
        self._room.set()

    def note_end(self, error: Exception | None = None) -> None:
        """No more items will be taken."""
        self.fed = True
        self.error = self.error or error
        self.total = self.finished + self.open
        self._report()
        self._wake()

    # -- who runs them

    def settle(self, first: int, results: list[Any]) -> None:
        """These are the results of the items from this number on."""
        self.open -= len(results)
        self.finished += len(results)
        if self._stop and any(type(each) is Failed for each in results):
            self._fail()
        if self._ordered:
            self._waiting[first] = results
            while (due := self._waiting.pop(self._due, None)) is not None:
                self.available.extend(due)
                self._due += len(due)
        else:
            self.available.extend(results)
        self._report()
        self._wake()

    def drop(self, count: int) -> None:
        """So many of those that are to come never will: nothing more is wanted."""
        self.open -= count
        self._wake()

    def _fail(self) -> None:
        self.failing = True
        self._room.set()

    def _report(self) -> None:
        if self._progress is None:
            return
        try:
            self._progress(self.finished, self.total)
        except Exception as error:  # the user's own; it must reach the one who iterates, not our nursery
            self._progress = None
            self.error = self.error or error
            self._fail()

    # -- who hands them out

    async def wait_for_news(self) -> None:
        """Return when something has changed. Cancellation leaves nothing behind."""
        if self._news is None:
            self._news = trio.Event()
        await self._news.wait()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

"""Feeding: several iterables, read side by side, lazily and without holding up the loop.

Knows iterables. Does not know what their items are for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

__all__ = ["BURST", "Feed"]

BURST = 0.0005
"""Seconds for which items are taken before other tasks get their turn."""

PORTION = 32
"""Items at most that are taken without a look at the clock."""

_END = object()


class Feed:
    """Items from iterables, until the shortest ends; any of them may be asynchronous, or endless.

    Attributes:
        total: how many items there are, or None where nobody can tell.
        asynchronous: whether items must be awaited.
    """

    def __init__(self, iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...]) -> None:
        lengths = [getattr(each, "__len__", None) for each in iterables]
        known = [length() for length in lengths if length is not None]
        self.total: int | None = min(known) if len(known) == len(iterables) else None
        self.asynchronous = any(map(_is_asynchronous, iterables))
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._ways: list[Callable[[], Awaitable[Any]]] = []
        if self.asynchronous:
            self._ways = [_way_into(each) for each in iterables]
        else:
            self._rows = zip(*iterables, strict=False)

    def take(self, most: int, into: deque[tuple[Any, ...]]) -> bool:
        """Append at most so many items, as many as a burst brings; whether there may be more."""
        until = perf_counter() + BURST
        before, portion = len(into), 1
        while (taken := len(into) - before) < most:
            portion = min(portion, most - taken)
            into.extend(islice(self._rows, portion))
            if len(into) - before < taken + portion:
                return False
            if perf_counter() > until:
                break
            portion = min(2 * portion, PORTION)
        return True

    async def next(self) -> tuple[Any, ...] | None:
        """The next item, awaited, or None at the end.

        A checkpoint if the iterables make it one. Cancellation goes into whichever iterable waits.
        """
        row = []
        for way in self._ways:
            value = await way()
            if value is _END:
                return None
            row.append(value)
        return tuple(row)


def _is_asynchronous(iterable: Iterable[Any] | AsyncIterable[Any]) -> bool:
    return isinstance(iterable, AsyncIterable) and not isinstance(iterable, Iterable)


def _way_into(iterable: Iterable[Any] | AsyncIterable[Any]) -> Callable[[], Awaitable[Any]]:
    """A function that is awaited for the next value, or `_END`."""
    if isinstance(iterable, Iterable):
        iterator = iter(iterable)

        async def take() -> Any:
            return next(iterator, _END)

        return take
    return partial(anext, aiter(iterable), _END)

"""Where items come from: the command line, or standard input, as lazily as it comes.

A map that reads its whole input first never begins on an endless one. And a read must not stop the event loop,
nor keep the program from ending while nothing comes.

Knows text and one descriptor. Does not know what is done with the items.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import attrs
import trio

from .._wire import MAX_FRAME
from ..worker._failures import encodable

__all__ = ["BadInput", "Item", "Items", "Kept", "Lines", "Words", "item_of"]

_READ = 65536  # bytes
_LONGEST = MAX_FRAME // 2  # bytes of a line; quoted as JSON it may grow, and must fit into a frame


class BadInput(Exception):
    """Standard input cannot be read on."""


@attrs.frozen
class Item:
    """One item.

    Attributes:
        index: from 0, in the order of the input.
        json: the item as JSON.
        error: why it is none, or None.
    """

    index: int
    json: str
    error: str | None = None


def item_of(index: int, text: str, *, parse: bool) -> Item:
    """An item from its text, which is itself JSON if it is to be parsed."""
    if not parse:
        return Item(index, _dumps(text))
    try:
        return Item(index, _dumps(json.loads(text, parse_constant=_refuse)))
    except (ValueError, RecursionError) as error:
        return Item(index, _dumps(text), f"this is not JSON: {error}")


def _dumps(value: Any) -> str:
    return encodable(json.dumps(value, ensure_ascii=False))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


class Items(Protocol):
    """A source of texts."""

    total: int | None
    """How many there will be, where that is known."""

    async def next(self) -> str | None:
        """The next text, or None at the end.

        Raises:
            BadInput: there may be more, but it cannot be had.
        """

    def left(self) -> list[str]:
        """What was read and not handed out; there may be more that was not read."""
        ...


class Words:
    """The items of the command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self.total: int | None = len(words)
        self._words = iter(words)

    async def next(self) -> str | None:
        await trio.lowlevel.checkpoint()
        return next(self._words, None)

    def left(self) -> list[str]:
        return list(self._words)


class Lines:
    """The lines of a descriptor, without their newlines and without empty ones.

    Args:
        fd: read in a thread, which is left behind when a read is cancelled: only a program that ends may do so.
        read: reads at most so many bytes of a descriptor.
    """

    def __init__(self, fd: int, read: Callable[[int, int], bytes] = os.read) -> None:
        self.total: int | None = None
        self._fd = fd
        self._read = read
        self._lines: deque[str] = deque()
        self._rest = bytearray()
        self._ended = False

    async def next(self) -> str | None:
        while not self._lines and not self._ended:
            self._take(await self._more())
        await trio.lowlevel.checkpoint()
        return self._lines.popleft() if self._lines else None

    def left(self) -> list[str]:
        return list(self._lines)

    async def _more(self) -> bytes:
        try:
            return await trio.to_thread.run_sync(self._read, self._fd, _READ, abandon_on_cancel=True)
        except OSError as error:
            raise BadInput(f"standard input cannot be read: {error.strerror}") from error

    def _take(self, data: bytes) -> None:
        self._ended = not data
        if b"\n" not in data and not self._ended:
            self._rest += data
            if len(self._rest) > _LONGEST:
                raise BadInput(f"a line of standard input is longer than {_LONGEST:,} bytes")
            return
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest = bytearray(rest)
        if self._ended:
            lines.append(rest)
        self._lines.extend(os.fsdecode(line) for line in lines if line)


class Kept:
    """Items that can be had again; what was not read the first time is read then.

    Attributes:
        whole: whether all of them have been read.
    """

    def __init__(self, items: Items) -> None:
        self.total = items.total
        self.whole = False
        self._items = items
        self._texts: list[str] = []
        self._taken = 0

    def again(self) -> None:
        """Begin with the first."""
        self._taken = 0

    async def next(self) -> str | None:
        if self._taken == len(self._texts):
            text = await self._items.next()
            if text is None:
                self.whole, self.total = True, self._taken
                return None
            self._texts.append(text)
        else:
            await trio.lowlevel.checkpoint()
        self._taken += 1
        return self._texts[self._taken - 1]

    def left(self) -> list[str]:
        return [*self._texts[self._taken :], *self._items.left()]

"""Chunks of a map on the parent's side: as many items as fit into one call, and what came back of each.

Knows pickle, and the function in the worker that runs a chunk. Does not know how large chunks should be.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from .._errors import FrameTooLarge
from .._wire import pack
from ..abc import Chunk, ChunkReply
from ..worker._chunks import LIGHT, run_chunk
from ._jobs import WireJob
from ._python import PythonJob, definition_of, dumps

__all__ = ["ChunkJob"]

ROOM = 1 << 20
"""Bytes of arguments, and of results, after which no further item is put into a chunk."""

_ENTRY, _FRAME = 16, 256  # bytes around each outcome, and around them all, in a reply


class ChunkJob(PythonJob, Chunk):
    """A call of a Python function for several items.

    Args:
        fn: the function.
        items: the arguments for each item; as many as fit are taken, at least the first.
        limit: the longest frame.
        seconds: after so many the worker starts no further item.
        stop: it starts none after one has failed.
        fatal: the worker is in this process, where a KeyboardInterrupt is the program's.
    """

    __slots__ = ("count",)

    def __init__(
        self,
        fn: Callable[..., Any],
        items: Sequence[tuple[Any, ...]],
        limit: int,
        seconds: float,
        stop: bool,
        fatal: bool,
    ) -> None:
        number, definition = definition_of(fn)
        self._fn = fn
        self._number, self._definition = definition_of(run_chunk)
        room = min(ROOM, limit // 4)
        entries = _entries(fn, items[: max(limit // (4 * _ENTRY), 1)], room)
        while True:
            most = limit - _FRAME - _ENTRY * len(entries)
            args = (definition, number is not None, entries, seconds, room, most, stop, fatal)
            try:
                WireJob.__init__(self, "folk.call", pack((self._number, pickle.dumps((args, {}), 5))), limit)
                break
            except FrameTooLarge:
                if len(entries) == 1:
                    raise
                del entries[len(entries) // 2 :]
        self.count = len(entries)

    def value(self, result: Any) -> ChunkReply:
        seconds, entries, maps = pickle.loads(result)
        failures = {place: self.error(each) for place, each in maps.items()}
        try:
            values = [pickle.loads(each) if type(each) is bytes else each for each in entries]
        except Exception:
            values = [self._value(place, each, failures) for place, each in enumerate(entries)]
        return ChunkReply(values, failures, seconds)

    def _value(self, place: int, entry: Any, failures: dict[int, Exception]) -> Any:
        try:
            return super().value(entry) if type(entry) is bytes else entry
        except Exception as error:
            failures[place] = error
            return None

    def __repr__(self) -> str:
        return f"<ChunkJob {self._name}, {self.count} items, {len(self.params)} bytes>"


def _entries(fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], room: int) -> list[Any]:
    """What `run_chunk` takes for these items. One that cannot be sent ends the chunk before it, or raises."""
    light = LIGHT.issuperset
    if light(map(type, chain.from_iterable(items))):
        return list(items)  # the common case at the speed of C
    entries: list[Any] = []
    size = 0
    for args in items:
        entry: Any = args
        if not light(map(type, args)):
            try:
                entry = dumps(args, "the arguments of", fn)
            except TypeError:
                if entries:
                    break
                raise
            size += len(entry)
        entries.append(entry)
        if size >= room:
            break
    return entries

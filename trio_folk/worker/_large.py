"""What is large in a value: the buffers that need not go through its pickle, and as what each is to arrive.

A type that changes with its size breaks callers at the worst moment. So a large ``bytes`` arrives as ``bytes``
however it travelled, unless its sender asked for views.

Invariants
    1. A value that holds nothing large is pickled as if this were not here.
    2. Buffers are kept in the order in which the pickle asks for them.

Knows pickle's out-of-band buffers. Does not know shared memory. Imported with the first value that may be large.
"""

from __future__ import annotations

import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["BYTEARRAY", "BYTES", "STEP", "THRESHOLD", "VIEW", "Large", "copying", "has_large", "may_be_large"]

THRESHOLD = 256 * 1024
"""Bytes from which a buffer travels in shared memory; below, a socket is as fast."""
STEP = 4 << 20
"""Bytes that are copied in one go: about half a millisecond."""
VIEW, BYTES, BYTEARRAY = 0, 1, 2
"""As what a buffer arrives: a read-only view, or a private copy of one of two types."""

_ALIGNED = 64  # bytes: a cache line, and more than any array asks for
_MOST_MEMBERS = 1024  # of a container that are looked at: there is no end to some


class Large:
    """The large buffers of one value, gathered while it is pickled.

    Args:
        transfer: ``"auto"``, ``"view"`` or ``"copy"``.

    Attributes:
        buffers: the offset of each, itself as flat bytes, and what it is to become.
        size: the bytes that they take, one behind the other.
    """

    def __init__(self, transfer: str) -> None:
        self._transfer = transfer
        self._lifted: dict[int, pickle.PickleBuffer] = {}  # those of bytes, by their id
        self._lists: dict[int, Any] = {}  # containers with lifted members, by the id of the original
        self._stand_ins: dict[int, tuple[pickle.PickleBuffer, memoryview]] = {}  # for memoryviews
        self.buffers: list[tuple[int, memoryview, int]] = []
        self.size = 0

    @property
    def copies(self) -> bool:
        """Whether the receiver is to own everything."""
        return self._transfer == "copy"

    def __bool__(self) -> bool:
        return bool(self.buffers)

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """What pickle calls for each buffer; true where it is to stay in the pickle."""
        if id(buffer) in self._stand_ins:
            raw = self._stand_ins[id(buffer)][1]
        else:
            try:
                raw = buffer.raw()
            except BufferError:
                return True  # not contiguous: pickle says what is wrong with that
            if raw.nbytes < THRESHOLD:
                return True
        self.buffers.append((self.size, raw, self._kind(buffer, raw)))
        self.size += aligned(raw.nbytes)
        return False

    def loan(self, number: int) -> list[Any]:
        """What the wire says of them, once they are in this segment."""
        flat: list[int] = []
        for offset, raw, kind in self.buffers:
            flat += (offset, raw.nbytes, kind)
        return [number, flat]

    def fill(self, memory: memoryview) -> Iterator[None]:
        """Copy them into a segment, and stop for a moment after each step."""
        for offset, raw, _ in self.buffers:
            yield from copying(memory[offset : offset + raw.nbytes], raw)

    def restart(self) -> None:
        """Forget what was taken: the value is pickled again."""
        self.buffers.clear()
        self.size = 0

    def _kind(self, buffer: pickle.PickleBuffer, raw: memoryview) -> int:
        if self._transfer == "view":
            return VIEW
        if self.copies or id(buffer) in self._lifted:
            return BYTES if raw.readonly else BYTEARRAY
        return VIEW

    def stand_in(self, view: memoryview) -> pickle.PickleBuffer:
        """What is pickled in place of a memoryview that shows something large.

        Not a PickleBuffer of the view itself: up to CPython 3.12 a garbage collection that finds both may crash.
        """
        buffer = pickle.PickleBuffer(b"" if view.readonly else bytearray())
        self._stand_ins[id(buffer)] = buffer, view.cast("B")
        return buffer

    def lift(self, value: Any) -> Any:
        """The value with a buffer in place of each large ``bytes`` and ``bytearray`` that it is or has as a member."""
        kind = type(value)
        if kind is bytes or kind is bytearray:
            return self._buffer_of(value) if len(value) >= THRESHOLD else value
        if (kind is tuple or kind is list or kind is dict) and len(value) <= _MOST_MEMBERS:
            members = value.values() if kind is dict else value
            if any(type(each) in _FLAT and len(each) >= THRESHOLD for each in members):
                return self._lift_members(value, kind)
        return value

    def lift_arguments(self, args: tuple[Any, ...], kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same for each argument."""
        return tuple(map(self.lift, args)), {name: self.lift(value) for name, value in kwargs.items()}

    def _lift_members(self, value: Any, kind: type) -> Any:
        lifted = self._lists.get(id(value))  # one that is given twice arrives as one, as through any pickle
        if lifted is None:
            if kind is dict:
                lifted = {key: self._lift_flat(each) for key, each in value.items()}
            else:
                lifted = kind(map(self._lift_flat, value))
            self._lists[id(value)] = lifted
        return lifted

    def _lift_flat(self, value: Any) -> Any:
        return self.lift(value) if type(value) in _FLAT else value

    def _buffer_of(self, value: bytes | bytearray) -> pickle.PickleBuffer:
        buffer = pickle.PickleBuffer(value)
        self._lifted[id(buffer)] = buffer
        return buffer


_FLAT = frozenset({bytes, bytearray})
_NEVER = frozenset({bool, float, int, str, type(None)})


def may_be_large(args: Iterable[Any], kwargs: Any = None) -> bool:
    """Whether they are worth a second look; false, and soon, for what most calls are made of."""
    if kwargs:
        return True
    for each in args:
        kind = type(each)
        if kind not in _NEVER and (kind is not bytes or len(each) >= THRESHOLD):
            return True
    return False


def has_large(args: Iterable[Any]) -> bool:
    """Whether one of them is, by what it says of itself: bytes by their length, arrays by ``nbytes``."""
    for each in args:
        size = len(each) if type(each) in _FLAT else getattr(each, "nbytes", 0)
        if type(size) is int and size >= THRESHOLD:
            return True
    return False


def copying(target: memoryview, source: memoryview) -> Iterator[None]:
    """Copy, and stop for a moment after each step but the last."""
    for start in range(0, len(source), STEP):
        if start:
            yield
        target[start : start + STEP] = source[start : start + STEP]


def aligned(size: int) -> int:
    """The next multiple of what every buffer begins at."""
    return -(-size // _ALIGNED) * _ALIGNED

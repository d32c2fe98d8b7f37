"""Consistent hashing: each key has its slot, and keeps it whatever becomes of the others.

``hash(key) % slots`` moves nearly every key when one slot fails, and every worker's cache is cold at once. On a ring
only the keys of the slot that went look for another, and find it evenly among the rest.

Invariants
    1. A key's slot depends on the key and on the slots to choose from, and on nothing else: not on the order of calls,
       nor on the process, nor on the load.
    2. When a slot goes, its keys move and no other; when it is back, they are back.

Knows keys and numbers. Does not know what a slot is.
Picture: docs/design/routing.md
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable

from ..abc import Key, Router

__all__ = ["ConsistentHash", "check_key"]

_WIDTH = 8  # bytes of a point
_AT_ONCE = hashlib.blake2b.MAX_DIGEST_SIZE // _WIDTH  # points in one digest
_DIGESTS = 16  # a slot: with 128 points the fullest of eight slots has about a sixth more than its share


class ConsistentHash(Router):
    """The router that a pool has by default: a key stays with its slot, and moves only while that one fails."""

    def __init__(self) -> None:
        self._points: list[int] = []  # ascending
        self._owners: list[int] = []  # the slot of each
        self._known: set[int] = set()
        self._slots: tuple[int, ...] = ()
        self._present: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return f"<ConsistentHash over {len(self._present)} slots>"

    def route(self, key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        """The slot of the first point after the key's own; the load does not matter."""
        if slots is not self._slots:
            self._learn(slots)
        owners, present = self._owners, self._present
        at = bisect_left(self._points, _point(key))
        while at < len(owners) and owners[at] not in present:
            at += 1
        if at < len(owners):
            return owners[at]
        return next(slot for slot in owners if slot in present)

    def _learn(self, slots: tuple[int, ...]) -> None:
        """These are the slots now. Points are only ever added: those of slots that went are stepped over."""
        self._slots, self._present = slots, frozenset(slots)
        new = self._present - self._known
        if new:
            pairs = [*zip(self._points, self._owners, strict=True)]
            pairs += [(point, slot) for slot in new for point in _points_of(slot)]
            pairs.sort()
            self._points = [point for point, _ in pairs]
            self._owners = [slot for _, slot in pairs]
            self._known |= new


def check_key(key: object) -> None:
    """Refuse what is no key, before anything is sent.

    Raises:
        TypeError: it is not plain data.
    """
    if isinstance(key, tuple):
        for each in key:
            check_key(each)
    elif not isinstance(key, str | bytes | int):
        raise TypeError(f"a key is a str, bytes, an int or a tuple of such, not {key!r}: use str() of it")


def _point(key: Key) -> int:
    return int.from_bytes(hashlib.blake2b(_encoded(key), digest_size=_WIDTH).digest(), "big")


def _points_of(slot: int) -> list[int]:
    found = []
    for number in range(_DIGESTS):
        digest = hashlib.blake2b(b"slot %d %d" % (slot, number)).digest()
        found += [int.from_bytes(digest[_WIDTH * at : _WIDTH * (at + 1)], "big") for at in range(_AT_ONCE)]
    return found


def _encoded(key: Key) -> bytes:
    """Its bytes, alike for equal keys and for no others."""
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, int):
        return b"i%x" % key
    parts = [_encoded(each) for each in key]
    return b"t" + b"".join(b"%d:%b" % (len(part), part) for part in parts)

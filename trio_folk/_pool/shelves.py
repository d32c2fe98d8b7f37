"""Shelves: workers sorted by a small number, the lowest found at once.

Knows numbers. Does not know what they mean: how much runs, or how far away a worker is.
"""

from __future__ import annotations

from .incarnation import Incarnation

__all__ = ["Shelves"]

Shelf = dict[Incarnation, None]
"""An ordered set. Whoever holds it takes workers out by themselves; an empty one stays."""


class Shelves:
    """A shelf for each number."""

    def __init__(self) -> None:
        self._shelves: list[Shelf] = []
        self._lowest = 0  # those below are empty

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def shelf(self, number: int) -> Shelf:
        """The one with this number, for a worker to be put into."""
        while len(self._shelves) <= number:
            self._shelves.append({})
        self._lowest = min(self._lowest, number)
        return self._shelves[number]

    def lowest(self) -> Shelf | None:
        """The lowest that has any, or None. However many numbers there are, it takes few steps: it begins where the
        last search ended, and what is put in moves by one at a time."""
        shelves, at = self._shelves, self._lowest
        while at < len(shelves) and not shelves[at]:
            at += 1
        self._lowest = at
        return shelves[at] if at < len(shelves) else None

"""Recycling: healthy workers are replaced one at a time, however many are due at once.

Workers born together grow old together; replacing them together leaves nobody to take the calls. So a
worker that is due asks for its turn, and serves on until it has it. Only ``max_jobs`` itself is never
exceeded: a worker that has had its last call goes at once.

Knows who is due. Does not know why, nor how a replacement is made.
"""

from __future__ import annotations

from collections.abc import Callable

from .incarnation import Incarnation

__all__ = ["Recycling"]


class Recycling:
    """The turn to be replaced, and who waits for it."""

    def __init__(self, retire: Callable[[Incarnation, str], None]) -> None:
        self._retire = retire
        self._slot: int | None = None
        self._due: dict[int, tuple[Incarnation, str]] = {}

    def __repr__(self) -> str:
        return f"<Recycling slot {self._slot}, {len(self._due)} due>"

    @property
    def slot(self) -> int | None:
        """The slot whose worker is being replaced now."""
        return self._slot

    def ask(self, incarnation: Incarnation, reason: str) -> None:
        """It is due: retire it now, or when its turn comes. Asking again changes nothing."""
        if incarnation.retiring is None:
            self._due.setdefault(incarnation.slot.number, (incarnation, reason))
            self._next()

    def settled(self, slot: int) -> None:
        """The slot has a ready worker again, or has failed to get one: the turn passes on."""
        self._due.pop(slot, None)
        if self._slot == slot:
            self._slot = None
        self._next()

    def _next(self) -> None:
        while self._slot is None and self._due:
            incarnation, reason = self._due.pop(next(iter(self._due)))
            if incarnation.serves:
                self._slot = incarnation.slot.number  # a spare may have taken a slot since it asked
                self._retire(incarnation, reason)

"""Names as labels of metrics: a bounded number of them, whatever callers ask for.

A time series is kept for each value of a label, for good. Method names come from callers, and one who calls what does
not exist, under a new name each time, would fill the memory of whoever keeps the numbers.

Knows strings.
"""

from __future__ import annotations

__all__ = ["MOST", "OTHER", "Names", "slot_of"]

MOST = 200
"""Names that are told apart; the others are one."""
OTHER = "_OTHER"
"""What they are called, by OpenTelemetry's conventions."""
_LONGEST = 200  # characters


class Names:
    """The first names that came."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def bounded(self, name: str) -> str:
        """The name, or `OTHER` for one too many or too long."""
        if name in self._known:
            return name
        if len(self._known) >= self._most or not 0 < len(name) <= _LONGEST:
            return OTHER
        self._known.add(name)
        return name


def slot_of(worker: str) -> str:
    """The slot in a worker's id: of ``thumbs/3.12`` the ``3``. Incarnations grow without bound, slots do not."""
    return worker.rpartition("/")[2].partition(".")[0]

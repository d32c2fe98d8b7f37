"""The flow of one stream: items that came and wait, and how many more the worker may send.

A window of items alone is no bound: sixteen of 16 MiB are a quarter of a gigabyte. So credit is granted only for what
fits into `ROOM` if it is as large as what came of late, and the first item, of which nobody knows, comes alone.

Invariants
    1. Items that wait, and credit that is out, are never more than the window.
    2. An item beyond the credit is a breach of the protocol.
    3. When nothing waits and nothing is on the way, there is credit to grant, however large the last item was.

Knows numbers. Does not know sockets, or who takes the items.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .._errors import ProtocolError

__all__ = ["FIRST", "ROOM", "Flow"]

ROOM = 8 * 1024 * 1024
"""Bytes of items, as they came over the wire, that may wait before no more are asked for."""
FIRST = 1
"""Items that a worker may send before the size of one is known."""


class Flow:
    """What one stream has brought.

    Args:
        window: how many items may wait or be on the way.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._portion = (window + 1) // 2
        self._items: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._credit = FIRST
        self._large = 1  # bytes of the largest item of late

    def __len__(self) -> int:
        return len(self._items)

    def put(self, value: Any, size: int) -> None:
        """An item has come.

        Raises:
            ProtocolError: the worker had no credit for it.
        """
        if not self._credit:
            raise ProtocolError("an item of a stream beyond its credit")
        self._credit -= 1
        self._items.append((value, size))
        self._bytes += size
        self._large = max(size, self._large * 7 // 8, 1)

    def take(self) -> Any:
        """The next item."""
        value, size = self._items.popleft()
        self._bytes -= size
        return value

    def due(self) -> int:
        """How many more items to grant now: none before it is worth a message. They count as granted."""
        items = self._window - self._credit - len(self._items)
        fitting = (ROOM - self._bytes) // self._large - self._credit
        idle = not self._credit and not self._items
        more = max(min(items, fitting), int(idle))
        if more < self._portion and self._credit:
            return 0
        self._credit += more
        return more

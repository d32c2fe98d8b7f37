"""Claims on a zygote: who still needs it, whether more may, and when it is over.

A zygote that ends while somebody needs it costs workers their parent; one that stays when nobody does is a
process left behind. So it is retired, which stops new claims from being served, and over only with the last one.

Knows a count and a reason. Does not know processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["Claims"]


class Claims:
    """The claims on one zygote.

    Attributes:
        retired: why it forks no more, or None while it does.
        over: set when it is retired and nobody claims it.
    """

    def __init__(self) -> None:
        self.retired: str | None = None
        self.over = trio.Event()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def __str__(self) -> str:
        return self.retired or f"{self._count} workers"

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be somebody for whom it must stay."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._look_if_over()

    def retire(self, reason: str) -> None:
        """It forks no more. The first reason stays."""
        if self.retired is None:
            self.retired = reason
        self._look_if_over()

    def _look_if_over(self) -> None:
        if self.retired is not None and not self._count:
            self.over.set()

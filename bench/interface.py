"""What a peer is to a measure: a name, and a way to open so many workers and call functions on them.

Each measure runs over every peer through this alone, so no peer gets a measure of its own. `Peer.open`
gives the peer's own function where it can, not a wrapper: the adapter must not cost what is measured.

Knows names. Does not know any peer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ClassVar

Call = Callable[..., Awaitable[Any]]
"""``await call(fn, *args)`` runs an importable function in one of the workers."""

Values = dict[str, "float | str"]
"""What a measure found, by the name of its column."""

OF_POOLS = frozenset({"calls", "callers", "boot", "stall", "cancel", "death", "large"})
MANY_CALLERS = frozenset({"curve", "mixed", "bandwidth"})

WATCHERS = ("nobody", "an instrument", "Prometheus", "OpenTelemetry", "and the worker")
"""By whom calls may be watched; the last is OpenTelemetry at both ends."""


class Peer(ABC):
    """One way to run functions in worker processes. Made only in the process that measures it.

    Attributes:
        name: what the table calls it.
        cancellable: it claims to stop a running job; where not, nobody waits long to see whether it does.
        measures: the names of the measures that make sense for it.
        path: a folder of bench/ that comes first on its sys.path, or None.
        pickles: it takes any value that pickles.
        largest: MiB of the largest value that it takes.
    """

    name: ClassVar[str]
    cancellable: ClassVar[bool] = True
    measures: ClassVar[frozenset[str]] = OF_POOLS
    path: ClassVar[str | None] = None
    pickles: ClassVar[bool] = True
    largest: ClassVar[int] = 64

    def end_at_once(self) -> bool:
        """Have the next pool end a cancelled job without asking it to end; false where pools do not ask anyway."""
        return False

    async def ready(self, workers: int) -> bool:
        """Return when the pool that was opened last says that so many are ready; false where pools cannot tell."""
        return False

    async def add_up(self, fn: Callable[[int], int], items: Iterable[int]) -> int:
        """Map a function over items in the pool that was opened last; the sum, so that each result was seen."""
        raise NotImplementedError(f"{self.name} is not measured by its maps")

    def watched(self, kind: str) -> AbstractContextManager[None]:
        """While the block lasts calls go to a pool that one of `WATCHERS` watches."""
        raise NotImplementedError(f"{self.name} is not watched")

    @abstractmethod
    def open(self, workers: int) -> AbstractAsyncContextManager[Call]:
        """Open a pool of so many workers; whether they are born now or later is the peer's affair."""

"""Permit: one attempt's leave to spawn. A one-shot token that ends its own attempt and no other.

Invariants
    1. It ends once. Whatever is said afterwards changes nothing: several may see the same end.
    2. It carries its own identity: a stale permit cannot end, nor give back, a newer attempt of its key.

Knows its own state. Does not know budgets or time.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import final

__all__ = ["PermitState", "SpawnPermit"]


class PermitState(enum.Enum):
    """What became of an attempt."""

    IN_FLIGHT = "in flight"
    """It is being made; its key takes no other."""
    PROBATION = "on probation"
    """It succeeded, but has not lived long enough to be called stable; it counts for now."""
    STABLE = "stable"
    """It lived long enough, and is given back."""
    FAILED = "failed"
    """It failed, or died young; it counts until the window has passed."""
    CANCELLED = "cancelled"
    """It was withdrawn, or ended as planned, and is given back."""


Settle = Callable[["SpawnPermit", BaseException | None], None]


@final
class SpawnPermit:
    """Leave for one attempt, from `SpawnCoordinator.try_begin`, `spawn` or `join`.

    As a context manager it lands when its block ends: normally as succeeded, by an exception as failed, by a
    cancellation (or KeyboardInterrupt, or the like) as cancelled; what was said before stands.

    Attributes:
        key: what was to be started.
        scope: whose budget it counts against.
        number: unique within its coordinator.
        remaining: attempts that the budget had left when it began.
    """

    def __init__(
        self, key: Hashable, scope: Hashable, number: int, remaining: int, began: float, settle: Settle
    ) -> None:
        self.key = key
        self.scope = scope
        self.number = number
        self.remaining = remaining
        self.began = began
        self._state = PermitState.IN_FLIGHT
        self._settle = settle

    def __repr__(self) -> str:
        return f"<SpawnPermit {self.key!r}, attempt {self.number}, {self._state.value}>"

    @property
    def state(self) -> PermitState:
        """What has become of the attempt so far."""
        return self._state

    @property
    def ended(self) -> bool:
        """Whether nothing more can become of it."""
        return self._state not in (PermitState.IN_FLIGHT, PermitState.PROBATION)

    def succeeded(self) -> None:
        """It is ready: its key is free, and it stays on probation until `stable` or `failed` is said."""
        if self._state is PermitState.IN_FLIGHT:
            self._move(PermitState.PROBATION)

    def stable(self) -> None:
        """It lived long enough: the attempt is given back, and its key's failures are forgotten."""
        self._end(PermitState.STABLE)

    def failed(self, error: BaseException | None = None) -> None:
        """It did not become ready, or died young: the attempt is spent, and its key waits longer.

        Args:
            error: why; shown by whoever is refused because of it.
        """
        self._end(PermitState.FAILED, error)

    def cancel(self) -> None:
        """It was withdrawn, or what it started ended as planned: the attempt is given back."""
        self._end(PermitState.CANCELLED)

    def _end(self, state: PermitState, error: BaseException | None = None) -> None:
        if not self.ended:
            self._move(state, error)

    def _move(self, state: PermitState, error: BaseException | None = None) -> None:
        self._state = state
        self._settle(self, error)

    def __enter__(self) -> SpawnPermit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state is not PermitState.IN_FLIGHT:
            return
        if error is None:
            self.succeeded()
        elif _is_failure(error):
            self.failed(error)
        else:
            self.cancel()


def _is_failure(error: BaseException) -> bool:
    """Whether any of it is an Exception; trio.Cancelled, KeyboardInterrupt and the like are nobody's failure."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_failure(each) for each in error.exceptions)
    return isinstance(error, Exception)

"""How many workers are in which state, counted by what is heard of them.

A counter that is raised in one place and lowered in another drifts when something happens twice, or before anybody
listened. So each worker's state is kept, and a count moves only from the state in which it was.

Invariants
    1. A worker that was never heard to be born is counted nowhere, however it ends.
    2. No count is ever below 0.

Knows ids and states, and how an instrument hears of them. Does not know who counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ..abc import Instrument, WorkerExit

__all__ = ["CountsWorkers", "Population", "State"]

State = Literal["spawning", "ready", "retiring", "condemned"]


class Population:
    """The workers of the pools that are watched.

    Args:
        count: told ``(pool, state, change)`` whenever a count changes by 1.
    """

    def __init__(self, count: Callable[[str, State, int], object]) -> None:
        self._count = count
        self._states: dict[str, State] = {}

    def bear(self, worker: str) -> None:
        """A worker spawns."""
        self._states[worker] = "spawning"
        self._count(_pool_of(worker), "spawning", 1)

    def move(self, worker: str, state: State | None) -> State | None:
        """A worker is in this state now, or gone; returns the one before, None if it is not known."""
        before = self._states.pop(worker, None)
        if before is None:
            return None
        self._count(_pool_of(worker), before, -1)
        if state is not None:
            self._states[worker] = state
            self._count(_pool_of(worker), state, 1)
        return before


class CountsWorkers(Instrument):
    """An instrument with a population, which whoever extends this makes."""

    _population: Population

    def worker_spawning(self, worker: str) -> None:
        """Count it."""
        self._population.bear(worker)

    def worker_ready(self, worker: str) -> None:
        """Count it."""
        self._population.move(worker, "ready")

    def worker_failed(self, worker: str, reason: str) -> None:
        """Count it no more."""
        self._population.move(worker, None)

    def worker_retiring(self, worker: str, reason: str) -> None:
        """Count it as such."""
        self._population.move(worker, "retiring")

    def worker_condemned(self, worker: str, reason: str) -> None:
        """Count it as such."""
        self._population.move(worker, "condemned")

    def worker_ended(self, worker: str, reason: str, how: WorkerExit | None, planned: bool) -> None:
        """Count it no more."""
        self._population.move(worker, None)


def _pool_of(worker: str) -> str:
    return worker.rpartition("/")[0]

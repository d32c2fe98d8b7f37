"""Joining: many who want the same thing started share one birth, and what came of it.

Invariants
    1. However many ask for a key, one launch of it runs.
    2. An asker that is cancelled changes nothing for the others; the last one takes the launch with it, and goes on
       when the launch has ended: then the key is free.
    3. Nobody joins a launch that is being cancelled; they wait for its end and begin another.
    4. After the coordinator's block nothing is in flight.

Knows launches as functions. Does not know what they launch.
Picture: docs/design/spawn.md
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

import outcome
import trio

from .._errors import SpawnError
from .budget import SpawnBudget
from .coordinator import SpawnCoordinator
from .permit import SpawnPermit

__all__ = ["JoiningCoordinator", "open_spawn_coordinator"]

T = TypeVar("T")
Launch = Callable[[SpawnPermit], Awaitable[T]]


class _Birth(Generic[T]):
    """One launch and those who wait for it. It runs shielded: only its askers, and the block's end, cancel it."""

    def __init__(self, launch: Launch[T]) -> None:
        self.launch = launch
        self.askers = 0
        self.scope = trio.CancelScope(shield=True)
        self.ended = trio.Event()
        self.outcome: outcome.Maybe[T] | None = None
        self._trace: TracebackType | None = None

    async def run(self, permit: SpawnPermit) -> None:
        try:
            self.outcome = outcome.Value(await self.launch(permit))
        except Exception:
            if self.scope.cancel_called:  # what fails because it was cancelled spends nothing
                permit.cancel()
            raise

    def fail(self, error: Exception) -> None:
        self.outcome = outcome.Error(error)
        self._trace = error.__traceback__

    def result(self) -> T:
        """An outcome unwraps once; this one is for all, and its traceback must not grow with each of them."""
        if isinstance(self.outcome, outcome.Value):
            return self.outcome.value
        if isinstance(self.outcome, outcome.Error):
            raise self.outcome.error.with_traceback(self._trace)
        raise SpawnError("the spawn coordinator's block was left before the launch ended", stage="launch")


class JoiningCoordinator(SpawnCoordinator):
    """A coordinator that owns births: `open_spawn_coordinator` gives one."""

    def __init__(
        self,
        nursery: trio.Nursery,
        budget: SpawnBudget | None,
        clock: Callable[[], float],
        seed: int | str | None,
        limiter: trio.CapacityLimiter | None,
    ) -> None:
        super().__init__(budget, clock=clock, seed=seed, limiter=limiter)
        self._nursery = nursery
        self._births: dict[Hashable, _Birth[Any]] = {}
        self._closed = False

    async def join(
        self,
        key: Hashable,
        launch: Launch[T],
        *,
        scope: Hashable = None,
        budget: SpawnBudget | None = None,
    ) -> T:
        """Have it started, once, together with all who ask for this key meanwhile, and get what they all get.

        Args:
            key: what is to be started.
            launch: starts it and waits until it is ready; called with the attempt's permit, in a task of the
                coordinator, by the first asker's wish. Whoever keeps the permit says later whether it was stable.
            scope, budget: as for `SpawnCoordinator.try_begin`.

        Returns:
            What the launch returned; the same object for all.

        Raises:
            SpawnInProgress, SpawnBudgetExhausted: as `SpawnCoordinator.try_begin`.
            Exception: what the launch raised; the same for all.
            SpawnError: the coordinator's block was left.

        A checkpoint unless it is refused. Cancellation: the launch goes on for the other askers. If there are none
        it is cancelled, and this waits until it has ended; should it succeed all the same, its result is returned.
        """
        birth = await self._birth(key, launch, scope, budget)
        birth.askers += 1
        try:
            await birth.ended.wait()
        except BaseException:  # trio.Cancelled, or KeyboardInterrupt
            birth.askers -= 1
            if birth.askers:
                raise
            birth.scope.cancel()
            with trio.CancelScope(shield=True):  # bounded by what the launch does when it is cancelled
                await birth.ended.wait()
            if birth.outcome is None:
                raise
        return birth.result()

    async def _birth(
        self, key: Hashable, launch: Launch[T], scope: Hashable, budget: SpawnBudget | None
    ) -> _Birth[T]:
        while (birth := self._births.get(key)) is not None:
            if not birth.scope.cancel_called:
                return birth
            await birth.ended.wait()
        self.refuse(key, scope=scope, budget=budget)
        await trio.lowlevel.checkpoint_if_cancelled()
        birth = self._births[key] = _Birth(launch)
        self._nursery.start_soon(self._bear, key, birth, scope, budget, name=f"birth of {key!r}")
        return birth

    async def _bear(
        self, key: Hashable, birth: _Birth[Any], scope: Hashable, budget: SpawnBudget | None
    ) -> None:
        try:
            with birth.scope:
                async with self.spawn(key, scope=scope, budget=budget) as permit:
                    await birth.run(permit)
        except Exception as error:
            birth.fail(error)
        finally:
            del self._births[key]
            birth.ended.set()

    def refuse(self, key: Hashable, *, scope: Hashable = None, budget: SpawnBudget | None = None) -> None:
        """Raise what `try_begin` would raise now; begin nothing, change nothing."""
        if self._closed:
            raise SpawnError("the spawn coordinator's block was left", stage="launch")
        super().refuse(key, scope=scope, budget=budget)

    def close(self) -> None:
        """Cancel all that is in flight, and refuse whatever comes."""
        self._closed = True
        for birth in self._births.values():
            birth.scope.cancel()
        for permit in list(self._flights.values()):
            permit.cancel()


@asynccontextmanager
async def open_spawn_coordinator(
    budget: SpawnBudget | None = None,
    *,
    clock: Callable[[], float] = trio.current_time,
    seed: int | str | None = None,
    limiter: trio.CapacityLimiter | None = None,
) -> AsyncIterator[JoiningCoordinator]:
    """A coordinator that owns births: ``async with open_spawn_coordinator() as coordinator``.

    Beside what every coordinator does, ``await coordinator.join(key, launch)`` lets many askers share one birth.

    Args:
        budget, clock, seed, limiter: as for `SpawnCoordinator`.

    Leaving cancels all that is in flight and waits until it has ended; the block's exception leaves bare.
    Cancellation: likewise.
    """
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        coordinator = JoiningCoordinator(nursery, budget, clock, seed, limiter)
        try:
            yield coordinator
        except BaseException as raised:
            error = raised
        coordinator.close()
    if error is not None:
        raise error

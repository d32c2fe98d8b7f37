"""What the contract's tests stand on: one worker, alone, between two stocktakings, within a bound.

Knows `trio_folk.abc`, and nothing of any runtime.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

import attrs
import pytest
import trio

from .._wire import MAX_FRAME
from ..abc import Birth, Ladder, Runtime, WorkerHandle, WorkerId
from ._leaks import assert_nothing_left

__all__ = ["BOUND", "LONG", "SHORT", "ContractBase", "needs"]

_F = TypeVar("_F", bound=Callable[..., Any])

BOUND = 60.0
"""Seconds for any one test; each takes a fraction of one, or a worker's boot."""
SHORT = 0.05
"""Seconds after which something is taken to be under way in a worker, where nothing tells."""
LONG = 3600.0
"""Seconds that a call would hold its worker, if nobody ended it."""


@attrs.frozen(kw_only=True)
class Needs:
    """What a test needs of the runtime that it tries."""

    methods: tuple[str, ...] = ()
    processes: bool = False
    python: bool | None = None


def needs(*methods: str, processes: bool = False, python: bool | None = None) -> Callable[[_F], _F]:
    """Skip a test where the workers lack one of these methods, or the runtime's traits are other ones."""

    def mark(fn: _F) -> _F:
        fn.needs = Needs(methods=methods, processes=processes, python=python)  # type: ignore[attr-defined]
        return fn

    return mark


class ContractBase:
    """The settings and the tools of `RuntimeContract`.

    Attributes:
        methods: which methods of ``contract_worker`` the runtime's workers have; tests of others are skipped.
        max_frame: the longest message, in bytes.
        sleep_can_be_stopped: whether a running ``sleep`` can be; by default what `Traits.interruptible` says.
            True also where the traits deny it, but ``sleep`` is an async method.
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.trio]
    methods: frozenset[str] = frozenset(
        {"echo", "add", "fail", "pid", "sleep", "spin", "exit_with", "blob", "type_name", "unspeakable"}
        | {"count", "half", "gather"}
    )
    max_frame: int = MAX_FRAME
    sleep_can_be_stopped: bool | None = None

    def make_runtime(self) -> Runtime:
        """The runtime under test; called at least once a test."""
        raise NotImplementedError(f"{type(self).__name__} must define make_runtime()")

    @pytest.fixture(autouse=True)
    def _skip_what_is_denied(self, request: pytest.FixtureRequest) -> None:
        # here and not in the test: pytest-trio drops the reason of a skip that comes out of trio
        reason = self._denied(getattr(request.function, "needs", Needs()))
        if reason is not None:
            pytest.skip(reason)

    def _denied(self, needs: Needs) -> str | None:
        """Why a test with these needs cannot be run, or None."""
        traits = self.make_runtime().traits
        stoppable = traits.interruptible if self.sleep_can_be_stopped is None else self.sleep_can_be_stopped
        lacking = [method for method in needs.methods if method not in self.methods]
        if lacking:
            return f"its workers have no method {lacking[0]!r}"
        if "sleep" in needs.methods and not stoppable:
            return "a call that runs cannot be stopped: Traits.interruptible"
        if needs.processes and not traits.processes:
            return "its workers are no processes: Traits.processes"
        if needs.python is not None and needs.python != traits.python:
            return f"its workers run {'no ' if needs.python else ''}Python functions: Traits.python"
        return None

    def birth(self, incarnation: int = 1) -> Birth:
        """What the runtime is told; each rung of the ladder is short."""
        ladder = Ladder(stop=BOUND / 6, terminate=BOUND / 6, kill=BOUND / 6, cancel=SHORT)
        return Birth(WorkerId("contract", 0, incarnation), generation=3, ladder=ladder)

    @asynccontextmanager
    async def running(self, runtime: Runtime) -> AsyncIterator[trio.Nursery]:
        """Where workers are spawned: beside it runs what the runtime needs, until the last of them is gone."""
        async with trio.open_nursery() as home:
            await home.start(runtime.run)
            async with trio.open_nursery() as nursery:
                yield nursery
            home.cancel_scope.cancel()

    @asynccontextmanager
    async def started(self, runtime: Runtime, workers: int = 1) -> AsyncIterator[list[WorkerHandle]]:
        """Workers that were launched. They are ended with the block, and nothing of them may be left."""
        error: Exception | None = None
        async with assert_nothing_left():
            with trio.fail_after(BOUND):
                async with self.running(runtime) as nursery:
                    births = [self.birth(number) for number in range(1, workers + 1)]
                    handles = [await nursery.start(runtime.spawn, birth) for birth in births]
                    try:
                        yield handles
                    except Exception as raised:
                        error = raised  # it leaves bare, and not as a group
                    nursery.cancel_scope.cancel()
                for handle in handles:
                    assert handle.ended.is_set(), "the spawn has returned, and its worker has not ended"
                if error is not None:
                    raise error

    @asynccontextmanager
    async def ready(self, runtime: Runtime) -> AsyncIterator[WorkerHandle]:
        """One worker that is ready."""
        async with self.started(runtime) as (handle,):
            await handle.ready()
            yield handle

    async def call(self, runtime: Runtime, handle: WorkerHandle, method: str, params: Any = None) -> Any:
        """Call a named method."""
        return await handle.execute(runtime.prepare(method, params))

    async def call_each(
        self, runtime: Runtime, handle: WorkerHandle, values: Iterable[Any], answers: list[Any]
    ) -> None:
        """Echo values one after another, and collect what comes back."""
        for value in values:
            answers.append(await self.call(runtime, handle, "echo", value))  # noqa: PERF401

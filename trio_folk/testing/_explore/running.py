"""One run: the function under its watch, what stands around it, and what can be asked before trio has ended.

Invariants
    1. The function's exception is kept with its frames until stock has been taken.
    2. What the function raises does not end what stands around it: invariants are looked at first.
    3. A run ends, or is broken by the watchman.

Knows trio. Does not know which point is tried, nor what is a fault.
"""

from __future__ import annotations

import contextlib
import inspect
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio
import trio.testing

from .._where import TaskTree, await_stack, show
from . import privates
from .hangs import Watchman
from .order import Order
from .scan import Held
from .watch import Watch

__all__ = ["Record", "Scenario"]

_CUSHION = 0.01  # real seconds without a step between two looks at tasks that should end


@attrs.frozen
class Raised:
    """An exception, in words: in one line and with its traceback, and whether it is trio that complains."""

    line: str
    text: str
    internal: bool

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """Say what it is, and keep nothing of it."""
        leaves = list(_leaves(error))
        line = "; ".join("".join(traceback.format_exception_only(leaf)).strip() for leaf in leaves)
        return cls(line, "".join(traceback.format_exception(error)), any(map(_is_internal, leaves)))


@attrs.define(eq=False)
class Record:
    """What one run did.

    Attributes:
        returned: whether the function returned, and what it was then.
        cancelled: whether a Cancelled left it, as it should after one was delivered.
        error: anything else that left it.
        around: what left that which stands around it.
        left: tasks and locks that it left behind; each a line.
        broken: what the invariant had to say.
        hung: the tasks when the run had to be broken; None if it ended by itself.
        abandoned: whether not even that helped.
        had_choice: whether the seed could matter.
        kept: the exceptions, which keep their frames and what those hold.
    """

    returned: bool = False
    cancelled: bool = False
    error: Raised | None = None
    around: Raised | None = None
    left: list[str] = attrs.field(factory=list)
    broken: str | None = None
    hung: TaskTree | None = None
    abandoned: bool = False
    had_choice: bool = False
    kept: list[BaseException] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Scenario:
    """What is run again and again."""

    async_fn: Callable[..., Awaitable[object]]
    args: tuple[object, ...]
    around: Callable[[], AbstractAsyncContextManager[Any]] | None
    invariant: Callable[..., object] | None
    clock: Callable[[], trio.abc.Clock] | None
    scan: frozenset[str]
    settle: float
    may_leave_tasks: bool

    def run(self, watch: Watch, seed: int, watchman: Watchman) -> Record:
        """Run it once."""
        record = Record()
        order = Order(seed, watch.names)
        clock = None if self.clock is None else self.clock()
        try:
            with privates.order_tasks(order):
                trio.run(self._main, watch, record, watchman, clock=clock, instruments=[watch])
        except privates.RunAbandoned:
            pass  # the watchman knows
        except (Exception, trio.Cancelled) as error:
            record.kept.append(error)
            record.around = Raised.of(error)
        finally:
            watch.stop_profiling()
            breaker = watchman.end()
        record.had_choice = order.mattered
        if breaker is not None:
            record.hung, record.abandoned = breaker.tree or TaskTree(()), breaker.abandoned
            if breaker.abandoned:
                record.kept.clear()
                breaker.bury()
        if watch.failure is not None:
            raise RuntimeError("the cancellation explorer failed") from watch.failure
        return record

    async def _main(self, watch: Watch, record: Record, watchman: Watchman) -> None:
        trio.lowlevel.current_task().name = "main"
        watchman.begin(watch)
        around = contextlib.nullcontext() if self.around is None else self.around()
        async with around as value:
            given = () if self.around is None else (value,)
            before = Held.now(self.scan)
            await self._cancellable(watch, record, (*given, *self.args))
            await self._look(watch, record, given, before)

    async def _cancellable(self, watch: Watch, record: Record, args: tuple[Any, ...]) -> None:
        try:
            with watch.scope:
                watch.begin()
                try:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    await self.async_fn(*args)
                    record.returned = True
                except BaseException as error:
                    record.kept.append(error)  # invariant 1
                    raise
                finally:
                    watch.end()
        except Exception as error:
            record.error = Raised.of(error)  # invariant 2
        record.cancelled = not record.returned and record.error is None

    async def _look(self, watch: Watch, record: Record, given: tuple[Any, ...], before: Held) -> None:
        """Ask what can only be asked here; a function that returned may leave tasks where it was told to."""
        strays = not record.returned and not self.may_leave_tasks
        if strays:
            await self._settle(watch)
            record.left += [_describe(task) for task in watch.offspring]
        record.left += Held.now(self.scan).since(before)
        record.broken = await self._ask(given)
        for task in watch.offspring if strays else ():
            if task.parent_nursery is not None:
                task.parent_nursery.cancel_scope.cancel(
                    reason="a task of the explored function was left here"
                )

    async def _settle(self, watch: Watch) -> None:
        end = time.monotonic() + self.settle
        while watch.offspring and time.monotonic() < end:
            await trio.testing.wait_all_tasks_blocked(_CUSHION)

    async def _ask(self, given: tuple[Any, ...]) -> str | None:
        if self.invariant is None:
            return None
        try:
            answer = self.invariant(*given)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:
            return Raised.of(error).line
        return "it returned False" if answer is False else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _is_internal(error: BaseException) -> bool:
    return isinstance(error, trio.TrioInternalError) or privates.was_corrupted(error)


def _describe(task: trio.lowlevel.Task) -> str:
    stack = await_stack(task)
    return f"task {task.name!r} {f'waiting at {show(stack[-1])}' if stack else 'not begun'}"

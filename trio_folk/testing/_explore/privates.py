"""Trio's private names, all that the explorer and the plugin use, in this one file.

Trio counts cancellation points and keeps the tree of scopes, but shows neither. What is read here was read in
the source of each version named below and tried on it; another version is refused rather than misread.

Knows trio's insides. Does not know what they are read for.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import attrs
import outcome
import trio
from trio._core import _parking_lot, _run

__all__ = [
    "Loop",
    "RunAbandoned",
    "UnsupportedTrio",
    "blocked",
    "cancel_points",
    "check_trio",
    "encloses",
    "held_locks",
    "io_waiters",
    "is_closed",
    "next_error",
    "nothing_to_come",
    "order_tasks",
    "scopes_above",
    "steps_taken",
    "was_corrupted",
]

FIRST, LAST = (0, 31), (0, 35)
"""The versions of trio whose insides are known; between them too."""
_CLOSINGS = 20  # a coroutine that awaits in its clean-up does not close at once
_FOREVER = 1000.0  # seconds; nobody waits for a deadline that far away


class UnsupportedTrio(RuntimeError):
    """This version of trio has insides that the explorer does not know."""


class RunAbandoned(BaseException):
    """Raised into ``trio.run`` itself when nothing in it can be cancelled any more."""


def check_trio(version: str = trio.__version__) -> None:
    """Raise `UnsupportedTrio` unless the names below mean in this version what they are taken to mean."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if not FIRST <= numbers <= LAST:
        known = " to ".join(".".join(map(str, each)) for each in (FIRST, LAST))
        raise UnsupportedTrio(
            f"the cancellation explorer reads private names of trio and knows them in {known}, not in {version}: "
            "look for a newer trio_folk, or test with a trio that it knows"
        )


def cancel_points(task: trio.lowlevel.Task) -> int:
    """How many cancellation points the task has passed."""
    return task._cancel_points


def steps_taken(task: trio.lowlevel.Task) -> int:
    """How many steps the task has taken."""
    return task._schedule_points


def blocked(task: trio.lowlevel.Task) -> bool:
    """Whether the task waits, and a cancellation could still end its wait."""
    return task._abort_func is not None


def next_error(task: trio.lowlevel.Task) -> BaseException | None:
    """The exception that the task's next step begins with."""
    coming: object = task._next_send
    return coming.error if isinstance(coming, outcome.Error) else None


def encloses(scope: trio.CancelScope, task: trio.lowlevel.Task) -> bool:
    """Whether the task runs inside this scope, shielded or not."""
    status = scope._cancel_status
    return status is not None and status.encloses(task._cancel_status)


def scopes_above(task: trio.lowlevel.Task, outermost: trio.CancelScope) -> Iterator[trio.CancelScope]:
    """The scopes that a task is in, innermost first, up to but without ``outermost``."""
    status = task._cancel_status
    while status is not None and status._scope is not outermost:
        yield status._scope
        status = status._parent  # type: ignore[assignment]


def held_locks(task: trio.lowlevel.Task) -> list[trio.lowlevel.ParkingLot]:
    """The queues of the locks that the task owns."""
    return list(_parking_lot.GLOBAL_PARKING_LOT_BREAKER.get(task, ()))


def is_closed(channel: Any) -> bool:
    """Whether this end of a memory channel was closed."""
    return bool(channel._closed)


def nothing_to_come(timeout: float) -> bool:
    """Whether the loop that is about to sleep has no task to run and no deadline to wait for."""
    runner = _run.GLOBAL_RUN_CONTEXT.runner  # pyright: ignore[reportAttributeAccessIssue]
    if runner.runq or runner.waiting_for_idle:
        return False
    return timeout > _FOREVER or runner.deadlines.next_deadline() == math.inf


def io_waiters() -> int:
    """How many tasks wait for a descriptor, but for trio's own that waits to be woken."""
    found: Any = trio.lowlevel.current_statistics().io_statistics
    if found.backend == "epoll":
        return int(found.tasks_waiting_read + found.tasks_waiting_write - 1)
    return int(found.tasks_waiting - 1)


def was_corrupted(error: BaseException) -> bool:
    """Whether this is trio's complaint about scopes or nurseries that were not left in order."""
    return isinstance(error, RuntimeError) and "stack corrupted" in str(error)


@contextlib.contextmanager
def order_tasks(order: random.Random) -> Iterator[None]:
    """Let ``order.shuffle`` say in which order runnable tasks run."""
    names: dict[str, Any] = {"_ALLOW_DETERMINISTIC_SCHEDULING": True, "_r": order}
    before = {name: getattr(_run, name) for name in names}
    for name, value in names.items():
        setattr(_run, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_run, name, value)


@attrs.frozen(eq=False)
class Loop:
    """One ``trio.run`` under way; may be handed to another thread."""

    runner: _run.Runner
    generator: Generator[Any, Any, Any]

    @classmethod
    def in_thread(cls, ident: int) -> Loop | None:
        """The one that a thread is in, if any."""
        frame = sys._current_frames().get(ident)
        while frame is not None and frame.f_code is not trio.run.__code__:
            frame = frame.f_back
        if frame is None:
            return None
        names = frame.f_locals
        return cls(names["runner"], names["gen"]) if "runner" in names and "gen" in names else None

    def call_soon(self, fn: Callable[[], object]) -> bool:
        """Have a function called by the loop; False if it has ended."""
        try:
            self.runner.entry_queue.run_sync_soon(fn)
        except trio.RunFinishedError:
            return False
        return True

    def cancel_all(self, reason: str) -> None:
        """Cancel every scope below the main task, shields and all; call it in the loop."""
        main = self.runner.main_task
        if main is None or main.parent_nursery is None:
            return
        top = main.parent_nursery.cancel_scope
        for task in [task for task in self.runner.tasks if encloses(top, task)]:
            for scope in list(scopes_above(task, top)):
                scope.cancel(reason=reason)

    def abandon(self) -> None:
        """Have ``trio.run`` raise `RunAbandoned` at its next pass, whatever its tasks do; call it in the loop."""
        self.runner.io_manager = _Abandoned(self.runner.io_manager)  # type: ignore[assignment]

    def bury(self) -> None:
        """End what ``trio.run`` has left: its tasks, children first, then its descriptors.

        What their clean-ups raise, with no trio around them, is of no use to anybody.
        """
        tasks = sorted(self.runner.tasks, key=lambda task: task._counter, reverse=True)
        for nursery in [nursery for task in tasks for nursery in task._child_nurseries]:
            nursery._children.clear()  # else it waits for them, and complains when it is collected
        coroutines: list[Any] = [*(task.coro for task in tasks), self.generator]
        for coroutine in coroutines:
            for _ in range(_CLOSINGS):
                with contextlib.suppress(BaseException):
                    coroutine.close()
                    break


class _Abandoned:
    """The loop's I/O, but that it waits no more."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def get_events(self, timeout: float) -> Any:
        raise RunAbandoned

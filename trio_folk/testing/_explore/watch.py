"""The watch: sees every step of every task of one run, and says when a cancellation point is met.

Invariants
    1. It never raises into trio, which would switch it off in silence: its own errors are kept, and raised
       after the run.
    2. A run under a watch that only looks goes as it would without.
    3. A visit is counted the same way whether points are looked for or one is waited for.

What does not work
    Counting cancellation points by hooks alone: trio shows neither the first step of the main task, which begins
    outside, nor the count of its last. So the function begins with a step of its own, and its end is announced.

Knows trio's hooks. Does not know what is done with the points.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

import trio

from .._where import Stack, await_stack, call_stack
from . import privates
from .points import Kind, Point, TaskNames

__all__ = ["Finder", "Watch"]

_CHECKPOINT = trio.lowlevel.checkpoint_if_cancelled.__code__
_Moment: TypeAlias = tuple[Kind, str, Stack]


class Watch(trio.abc.Instrument):
    """Sees the steps of a run.

    Attributes:
        scope: what stands around the function, and is cancelled.
        names: what the tasks are called.
        offspring: the living tasks that the function's tasks have started, in whatever nursery.
        failure: an error of the watch itself.
        idle_since: since when nothing can happen any more, in real seconds, or None.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.names = TaskNames()
        self.offspring: dict[trio.lowlevel.Task, None] = {}
        self.failure: BaseException | None = None
        self.idle_since: float | None = None
        self._active = False
        self._visits: Counter[_Moment] = Counter()
        self._stepping: trio.lowlevel.Task | None = None
        self._maybe: Point | None = None
        self._points_before = 0
        self._shielded_before = False
        self._profile: Any = None

    def begin(self) -> None:
        """The function begins with this task's next step."""
        self._active = True

    def end(self) -> None:
        """The function has ended, in the middle of a step."""
        self._guarded(self._end_step, trio.lowlevel.current_task())
        self._active = False

    def stop_profiling(self) -> None:
        """Look into the current step no longer."""
        if sys.getprofile() == self._profiled:
            sys.setprofile(self._profile)

    # for those who look for points

    def wants(self, kind: Kind, task: str) -> bool:
        """Whether such points are of interest; to name one costs time."""
        return True

    def met(self, point: Point, task: trio.lowlevel.Task) -> None:
        """A point is met now."""

    def passed(self, point: Point) -> None:
        """A point was met at the beginning of the step that has just ended, and the step could be cancelled."""

    def step_begins(self, task: trio.lowlevel.Task) -> Point | None:
        """A task of the function is about to run; the point that this may be."""
        return self.meet("before", task)

    def step_ends(self, task: trio.lowlevel.Task) -> None:
        """A task of the function has run, and waits or has ended."""
        if self.is_shielded(task):
            self.meet("beside", task)
        elif privates.blocked(task):
            self.meet("after", task)

    def meet(self, kind: Kind, task: trio.lowlevel.Task, frame: FrameType | None = None) -> Point | None:
        """Name what is met, and tell of it."""
        name = self.names[task]
        if not self.wants(kind, name):
            return None
        moment = (kind, name, await_stack(task) if frame is None else call_stack(frame))
        self._visits[moment] += 1
        point = Point(*moment, self._visits[moment])
        self.met(point, task)
        return point

    def is_inside(self, task: trio.lowlevel.Task) -> bool:
        """Whether it is one of the function's own tasks."""
        return privates.encloses(self.scope, task)

    def is_shielded(self, task: trio.lowlevel.Task) -> bool:
        """Whether a cancellation of the function would not reach it now."""
        return any(scope.shield for scope in privates.scopes_above(task, self.scope))

    # trio's hooks

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._guarded(self._spawned, task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.offspring.pop(task, None)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._guarded(self._begin_step, task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._guarded(self._end_step, task)

    def before_io_wait(self, timeout: float) -> None:
        self._guarded(self._maybe_idle, timeout)

    # what they mean

    def _guarded(self, hook: Callable[..., None], argument: Any) -> None:
        try:
            hook(argument)
        except BaseException as error:  # invariant 1
            self._active = False
            self.failure = self.failure or error

    def _spawned(self, task: trio.lowlevel.Task) -> None:
        self.names.add(task)
        if self._active and trio.lowlevel.in_trio_task() and self.is_inside(trio.lowlevel.current_task()):
            self.offspring[task] = None

    def _begin_step(self, task: trio.lowlevel.Task) -> None:
        if not self.names.is_trios(task):
            self.idle_since = None
        if not self._active or not self.is_inside(task):
            return
        self._stepping = task
        self._points_before = privates.cancel_points(task)
        self._shielded_before = self.is_shielded(task)
        self._maybe = self.step_begins(task)
        if self.wants("inside", self.names[task]):
            self._profile = sys.getprofile()
            sys.setprofile(self._profiled)

    def _end_step(self, task: trio.lowlevel.Task) -> None:
        if self._stepping is task:
            self._stepping = None
            self.stop_profiling()
            if self._maybe is not None and self._could_be_cancelled(task):
                self.passed(self._maybe)
            self.step_ends(task)
        elif self._active and not self.is_inside(task) and not self.names.is_trios(task):
            self.meet("beside", task)

    def _could_be_cancelled(self, task: trio.lowlevel.Task) -> bool:
        passed = privates.cancel_points(task) > self._points_before
        return passed and not (self._shielded_before and self.is_shielded(task))

    def _profiled(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code is _CHECKPOINT:
            self._guarded(self._checkpoint, frame)

    def _checkpoint(self, frame: FrameType) -> None:
        """The first point of a step is met by cancelling before the step."""
        task = trio.lowlevel.current_task()
        if privates.cancel_points(task) > self._points_before and not self.is_shielded(task):
            self.meet("inside", task, frame)

    def _maybe_idle(self, timeout: float) -> None:
        if self.idle_since is None and privates.nothing_to_come(timeout) and not privates.io_waiters():
            self.idle_since = time.monotonic()


class Finder(Watch):
    """Finds all points of a run.

    Attributes:
        points: in the order of their coming.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Point] = []

    def met(self, point: Point, task: trio.lowlevel.Task) -> None:
        if point.kind != "before":
            self.points.append(point)

    def passed(self, point: Point) -> None:
        self.points.append(point)

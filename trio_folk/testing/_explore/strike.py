"""The strike: cancels at one point, and then inside the clean-up, and follows what comes of it.

The second cancellation is of the nearest shielded scope that has a deadline: the clean-up takes too long. One
without a deadline cannot be cancelled from anywhere, so nothing is tried there.

Knows points and how to cancel. Does not know which points there are.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs
import trio

from .._where import Line, TaskTree, await_stack
from . import privates
from .points import Kind, Point
from .watch import Watch

__all__ = ["Delivery", "Strike"]

_FIRST = "trio_folk explores cancellation"
_SECOND = "trio_folk explores cancellation inside a clean-up"
_REASONS: dict[str | None, Literal[1, 2]] = {_FIRST: 1, _SECOND: 2}


@attrs.frozen
class Delivery:
    """A Cancelled of ours on its way into a task: of the first or of the second cancellation, where, how often."""

    task: str
    which: Literal[1, 2]
    line: Line | None
    again: bool


class Strike(Watch):
    """Cancels at one point, and at another after it.

    Attributes:
        first, second: the points.
        struck, struck_again: whether the points were met.
        tree: the tasks when it cancelled last.
        deliveries: each Cancelled that reached a task, in order.
        cleanup: the points inside the clean-up, in order.
    """

    def __init__(self, first: Point, second: Point | None) -> None:
        super().__init__()
        self.struck = False
        self.struck_again = False
        self.tree: TaskTree | None = None
        self.deliveries: list[Delivery] = []
        self.cleanup: list[Point] = []
        self.first = first
        self.second = second
        self._hit: set[tuple[trio.lowlevel.Task, int]] = set()

    def wants(self, kind: Kind, task: str) -> bool:
        if self.struck:
            return kind in ("before", "after")
        return (kind, task) == (self.first.kind, self.first.task)

    def met(self, point: Point, task: trio.lowlevel.Task) -> None:
        if not self.struck:
            if point == self.first:
                self.struck = True
                self._visits.clear()
                self.tree = TaskTree.capture()
                self.scope.cancel(reason=_FIRST)
        elif point == self.second and not self.struck_again:
            self.struck_again = True
            self.tree = TaskTree.capture()
            scope = self._cleaning(task)
            assert scope is not None
            scope.cancel(reason=_SECOND)
        elif point.kind == "after":
            self.cleanup.append(point)

    def passed(self, point: Point) -> None:
        if self.struck:
            self.cleanup.append(point)

    def step_begins(self, task: trio.lowlevel.Task) -> Point | None:
        maybe = None
        if not self.struck:
            super().step_begins(task)
        elif self._cleaning(task) is not None:
            maybe = self.meet("before", task)
        if self.struck:
            self._maybe_delivered(task)
        return maybe

    def step_ends(self, task: trio.lowlevel.Task) -> None:
        if not self.struck:
            super().step_ends(task)
        elif privates.blocked(task) and self._cleaning(task) is not None:
            self.meet("after", task)

    def _cleaning(self, task: trio.lowlevel.Task) -> trio.CancelScope | None:
        """The scope that shields a clean-up, if it has a deadline that may come."""
        scope = self._shield(task)
        return scope if scope and scope.deadline < math.inf and not scope.cancel_called else None

    def _shield(self, task: trio.lowlevel.Task) -> trio.CancelScope | None:
        return next((scope for scope in privates.scopes_above(task, self.scope) if scope.shield), None)

    def _maybe_delivered(self, task: trio.lowlevel.Task) -> None:
        """A Cancelled that was on its way already, as at the end of a sleep, goes on as one of ours."""
        error = privates.next_error(task)
        if not isinstance(error, trio.Cancelled):
            return
        shield = self._shield(task)
        if error.reason in _REASONS:
            which = _REASONS[error.reason]
        elif shield is None or (self.struck_again and shield.cancel_called):
            which = 1 if shield is None else 2
        else:
            return
        stack = await_stack(task)
        again = (task, which) in self._hit
        self._hit.add((task, which))
        self.deliveries.append(Delivery(self.names[task], which, stack[-1] if stack else None, again))

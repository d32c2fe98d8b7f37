"""A cancellation point, by a name that is the same in each run: task, stack, kind and visit.

Counting points blindly works until one run saves a step: then every later number means another point. A name
either is met again or it is not, and then the report says so.

Knows names. Does not know when a point is met.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, final

import attrs
import trio

from .._where import Stack, show

__all__ = ["Kind", "Point", "TaskNames"]

Kind: TypeAlias = Literal["before", "after", "inside", "beside"]
_WORDS: dict[Kind, str] = {
    "before": "before a step of",
    "after": "while it waited,",
    "inside": "at a later checkpoint of one step of",
    "beside": "after a step of another task,",
}
_MAIN = "main"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@final
@attrs.frozen
class Point:
    """One moment at which a function can be cancelled.

    Attributes:
        kind: ``"before"`` a step: what the task waited for has come, and then it is cancelled. ``"after"`` a step:
            it is cancelled while it waits. ``"inside"`` a step: at its second or a later checkpoint that does not
            wait. ``"beside"``: after a step of a task that is not cancelled itself, being shielded or outside the
            function.
        task: the task whose step it is.
        stack: its frames, outermost first, as file, line and name.
        visit: the how many-th time, from 1, that the task came by with this stack.
    """

    kind: Kind
    task: str
    stack: Stack
    visit: int

    @property
    def place(self) -> str:
        """The innermost line, e.g. ``app.py:12 in fetch``."""
        if self.stack:
            return show(self.stack[-1])
        return "its end" if self.kind == "beside" else "its beginning"

    def __str__(self) -> str:
        again = f", visit {self.visit}" if self.visit > 1 else ""
        return f"{_WORDS[self.kind]} {self.task} at {self.place}{again}"


class TaskNames:
    """What each task of a run is called: its parents and itself, numbered among its namesakes."""

    def __init__(self) -> None:
        self._names: dict[trio.lowlevel.Task, str] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, task: trio.lowlevel.Task) -> None:
        """Name a task that has just been spawned; the main task is the first child of trio's own."""
        nursery = task.parent_nursery
        parent = "" if nursery is None else self[nursery.parent_task]
        if len(self._names) == 1:
            self._names[task] = _MAIN
            return
        short = _ADDRESS.sub("", task.name).rpartition("<locals>.")[2].rpartition(".")[2]
        count = self._counts[parent, short] = self._counts.get((parent, short), 0) + 1
        own = short if count == 1 else f"{short}#{count}"
        self._names[task] = f"{parent}/{own}" if parent else own

    def is_trios(self, task: trio.lowlevel.Task) -> bool:
        """Whether it is none of the program's tasks but one of trio's, or a system task."""
        return not self[task].startswith(_MAIN)

    def __getitem__(self, task: trio.lowlevel.Task) -> str:
        return self._names.get(task, task.name)

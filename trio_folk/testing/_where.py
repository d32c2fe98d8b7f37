"""Where a task stands: its frames and the tree of all tasks, without trio's own, for people to read.

A report that says "in `_run.py:1040`" is true of every task of every program. What helps is the innermost line
that somebody wrote: so trio's frames, those of `contextlib` and those of the test kit are left out.

Knows tasks and their frames. Does not know why anybody asks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import TypeAlias

import attrs
import outcome
import trio

__all__ = ["Line", "Stack", "TaskTree", "await_stack", "call_stack", "show", "tasks_below"]

Line: TypeAlias = tuple[str, int, str]
"""File, line and qualified name."""
Stack: TypeAlias = tuple[Line, ...]
"""Outermost first."""

_HERE = os.path.dirname(__file__)
_FOLDERS = tuple(
    folder + os.sep
    for folder in (
        os.path.dirname(trio.__file__),
        os.path.dirname(outcome.__file__),
        os.path.join(_HERE, "_explore"),
    )
)
_SYSTEM = "<TrioToken.run_sync_soon task>"
_LOOP = trio.run.__code__
_hidden: dict[CodeType, bool] = {}


def await_stack(task: trio.lowlevel.Task) -> Stack:
    """Where a suspended task waits; of a running one, only the outermost frame is known; nothing if it has ended."""
    if getattr(task.coro, "cr_frame", task) is None:  # trio 0.31 stumbles over it
        return ()
    return _foreign((frame.f_code, line) for frame, line in task.iter_await_frames())


def call_stack(frame: FrameType | None) -> Stack:
    """Where the running code stands, from the loop that runs its task down to this frame."""
    found = []
    while frame is not None and frame.f_code is not _LOOP:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return _foreign(reversed(found))


def show(line: Line) -> str:
    """One line for a reader: relative to the working directory where it is below it."""
    file, number, name = line
    short = os.path.relpath(file)
    return f"{file if short.startswith(os.pardir) else short}:{number} in {name}"


def tasks_below(root: trio.lowlevel.Task | None) -> Iterator[tuple[int, trio.lowlevel.Task]]:
    """A task and those that descend from it, each with its depth, parents first."""
    waiting = [] if root is None else [(0, root)]
    while waiting:
        depth, task = waiting.pop()
        yield depth, task
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        waiting += [(depth + 1, child) for child in children]


@attrs.frozen
class TaskTree:
    """All tasks at one moment, to be rendered if somebody wants to know."""

    entries: tuple[tuple[int, str, Stack], ...]

    @classmethod
    def capture(cls) -> TaskTree:
        """The tasks of the run in this thread, but for trio's own."""
        root = trio.lowlevel.current_root_task()
        found = tasks_below(root)
        return cls(
            tuple(
                (depth, task.name, await_stack(task))
                for depth, task in found
                if task is not root and task.name != _SYSTEM
            )
        )

    def __str__(self) -> str:
        return "\n".join(
            f"{'  ' * (depth - 1)}{name}: {f'at {show(stack[-1])}' if stack else 'not begun'}"
            for depth, name, stack in self.entries
        )


def _foreign(frames: Iterable[tuple[CodeType, int]]) -> Stack:
    return tuple((code.co_filename, line, code.co_qualname) for code, line in frames if not _is_hidden(code))


def _is_hidden(code: CodeType) -> bool:
    found = _hidden.get(code)
    if found is None:
        file = code.co_filename
        found = _hidden[code] = file.startswith(_FOLDERS) or file == contextlib.__file__
    return found

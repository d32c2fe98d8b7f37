"""Taking stock: what this process holds at one moment, each thing with a name that a reader can act on.

A leak report that says "2 descriptors more than before" starts a hunt; one that says
``descriptor 12 -> socket:[1234]`` and ``task 'slot 3' waiting at _slot.py:88`` ends it.

What does not work
    Counting. One thing opened and another closed looks like nothing.
    Asking only for children: a worker's child that outlives it belongs to init by then. It is still
    in our session, and its parent is init or in another one; that is how it is found.

Linux only in full: without /proc, descriptors are read from /dev/fd and processes are not seen.
Does not know what is allowed to be left, nor how long to wait for it to go.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Hashable, Iterator
from pathlib import Path
from types import CodeType

import attrs
import trio

from ._where import await_stack, tasks_below

__all__ = ["Stock"]

_PROC = Path("/proc")
_INIT = 1
_OUR_FILES = "trio_folk"  # what the names of this library's temporary files begin with
_IDLE_THREAD = "Trio thread "  # trio names its threads after their job, and so when they have none
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@attrs.frozen
class Stock:
    """What was there at one moment.

    Attributes:
        seen: every thing, ours or not, by what identifies it.
        ours: those that this process would leave behind, with what to call them.
    """

    seen: frozenset[Hashable]
    ours: dict[Hashable, str]

    @classmethod
    def take(cls, *, tasks: bool, processes: bool = True) -> Stock:
        """Look at everything; at trio's tasks only if asked, and then inside ``trio.run``.

        Without ``processes`` only the cheap things are looked at: those of all programs are read otherwise.
        """
        seen: set[Hashable] = set()
        ours: dict[Hashable, str] = dict(_tasks()) if tasks else {}
        ours.update((name, name) for name in (*_descriptors(), *_threads(), *_temporary_files()))
        everyone = _Process.all() if processes else {}
        seen.update(process.key for process in everyone.values())
        ours.update((p.key, str(p)) for p in everyone.values() if p.is_ours(everyone))
        return cls(frozenset(seen | ours.keys()), ours)

    @staticmethod
    def threads() -> frozenset[str]:
        """The names of the threads that are not idle."""
        return frozenset(_threads())

    def new_since(self, before: Stock) -> list[str]:
        """The names of our things that were not there before."""
        return [name for key, name in self.ours.items() if key not in before.seen]


def _tasks() -> Iterator[tuple[trio.lowlevel.Task, str]]:
    for _, task in tasks_below(trio.lowlevel.current_root_task()):
        yield task, f"task {task.name!r} {_place(task)}"


def _place(task: trio.lowlevel.Task) -> str:
    """Where a task waits: its innermost line that is not trio's own, where it has any."""
    frames = list(task.iter_await_frames())
    if not frames:
        return "not begun"
    own = await_stack(task)
    frame, number = frames[-1]
    file, line, name = own[-1] if own else (frame.f_code.co_filename, number, frame.f_code.co_qualname)
    return f"waiting at {file}:{line} in {name}"


def _descriptors() -> Iterator[str]:
    folder = "/proc/self/fd" if _PROC.joinpath("self/fd").exists() else "/dev/fd"
    for number in os.listdir(folder):
        # The listing holds the descriptor it was read through, which is closed by now.
        with contextlib.suppress(OSError):
            os.fstat(int(number))
            yield f"descriptor {number} -> {_target(folder, number)}"


def _target(folder: str, number: str) -> str:
    return os.readlink(f"{folder}/{number}") if folder.startswith("/proc") else "open"


def _threads() -> Iterator[str]:
    known = {thread.native_id: thread for thread in threading.enumerate()}
    frames = sys._current_frames()
    for thread in known.values():
        frame = frames.get(thread.ident or 0)
        if not (frame and _is_idle(thread, frame.f_code)):
            yield f"thread {thread.name!r} ({thread.native_id})"
    for folder in _PROC.glob("self/task/*"):
        with contextlib.suppress(*_GONE):
            if int(folder.name) not in known:
                yield f"native thread {(folder / 'comm').read_text().strip()!r} ({folder.name})"


def _is_idle(thread: threading.Thread, innermost: CodeType) -> bool:
    """Whether trio keeps this thread for later: named after no job, and waiting in the cache's own loop."""
    return thread.name.startswith(_IDLE_THREAD) and innermost.co_filename.endswith("_thread_cache.py")


def _temporary_files() -> Iterator[str]:
    folder = tempfile.gettempdir()
    yield from (
        f"temporary file {folder}/{name}" for name in os.listdir(folder) if name.startswith(_OUR_FILES)
    )


@attrs.frozen
class _Process:
    """One line of proc_pid_stat(5); the start time tells a pid from the next process that gets it."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int

    @classmethod
    def all(cls) -> dict[int, _Process]:
        found = {}
        for folder in _PROC.glob("[0-9]*"):
            with contextlib.suppress(*_GONE):
                process = cls._parse((folder / "stat").read_text(errors="replace"))
                found[process.pid] = process
        return found

    @classmethod
    def _parse(cls, line: str) -> _Process:
        pid, rest = line.split(" (", 1)
        name, rest = rest.rsplit(") ", 1)  # a name may hold both brackets and blanks
        fields = rest.split()
        return cls(int(pid), name, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))

    @property
    def key(self) -> Hashable:
        return ("process", self.pid, self.started)

    def is_ours(self, everyone: dict[int, _Process]) -> bool:
        """Whether it descends from this process, or did until its parent died.

        A zombie that is not our own child is another's to reap.
        """
        me = everyone[os.getpid()]
        if self.is_zombie:
            return self.parent == me.pid
        line = self._ancestors(everyone)
        if me == self or me in line:
            return me != self
        return self.session == me.session and self._is_adopted(line)

    def _is_adopted(self, ancestors: list[_Process]) -> bool:
        """Whether its parent is one that takes in orphans: init, of whatever session, or one of another session.

        In a container we may run in the session of init itself. A subreaper of our own session cannot be
        told from a shell that starts things beside us.
        """
        return not ancestors or ancestors[0].pid == _INIT or ancestors[0].session != self.session

    def _ancestors(self, everyone: dict[int, _Process]) -> list[_Process]:
        line: list[_Process] = []
        parent = everyone.get(self.parent)
        while parent is not None and parent not in line:  # a pid may pass on while we read
            line.append(parent)
            parent = everyone.get(parent.parent)
        return line

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"

    def __str__(self) -> str:
        if self.is_zombie:
            return f"zombie {self.pid} ({self.name})"
        command = ""
        with contextlib.suppress(*_GONE):
            command = (_PROC / str(self.pid) / "cmdline").read_text(errors="replace")
        return f"process {self.pid} ({command.replace(chr(0), ' ').strip() or self.name}) state {self.state}"

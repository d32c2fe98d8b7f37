"""The OS act that yields a pid: descriptors prepared, the process made, its exit made visible. Blocking.

The parent's own end of a channel may be numbered 3 or 4, where the child's is to be; moved there in the wrong
order, one end destroys another, and the worker starts with a channel that is not its own.

Invariants
    1. Whatever fails, fails before the process exists; then nothing is left open.
    2. Every descriptor for the child is first lifted above every number it may get, then moved down.
    3. The parent's descriptors for it are never inheritable, so no sibling launched meanwhile holds them.

Knows descriptors. Does not know trio: it runs in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import attrs

from . import exits, namespace, portable
from .plan import Plan, find_program
from .refusal import refusal

__all__ = ["Launched", "launch"]

_LOWEST_LIFTED = 10  # above the numbers of every channel the wire knows


def _launcher() -> Callable[[bytes, Plan, Mapping[int, int]], int]:
    try:
        from . import libc
    except ImportError:  # a Python built without libffi has no ctypes
        return portable.spawn
    return libc.spawn if libc.available() else portable.spawn


spawn = _launcher()


@attrs.frozen
class Launched:
    """A process that runs, and what its parent holds of it."""

    pid: int
    pidfd: int | None
    stdout_fd: int
    stderr_fd: int


def launch(plan: Plan) -> Launched:
    """Launch a process. Blocks for the time that takes, about half a millisecond; `namespace.require` may add its own.

    Raises:
        BootFailed: it could not be launched; nothing is left.
    """
    try:
        with ExitStack() as ours, ExitStack() as theirs:
            return _launch(plan, ours, theirs)
    except OSError as error:
        raise refusal(plan, error) from error


def _launch(plan: Plan, ours: ExitStack, theirs: ExitStack) -> Launched:
    program = find_program(plan)
    if plan.pid_namespace:
        namespace.require()
        program, plan = namespace.inside(program, plan)
    floor = max(_LOWEST_LIFTED, *(number + 1 for number in plan.fds), 0)
    stdout, for_1 = _pipe(ours, theirs)
    stderr, for_2 = _pipe(ours, theirs)
    wanted = {1: for_1, 2: for_2, **plan.fds}
    moves = {number: _lift(descriptor, floor, theirs) for number, descriptor in wanted.items()}
    # EMFILE must strike now: once the process runs there must be a number left for its pidfd
    reserved = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = spawn(program, plan, moves)
    finally:
        os.close(reserved)
    ours.pop_all()
    return Launched(pid, exits.open_pidfd(pid), stdout, stderr)


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()  # close-on-exec both
    ours.callback(os.close, reader)
    theirs.callback(os.close, writer)
    os.set_blocking(reader, False)
    return reader, writer


def _lift(descriptor: int, floor: int, theirs: ExitStack) -> int:
    try:
        lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)
    except OSError as error:
        if error.errno == errno.EINVAL:  # fcntl(2): the floor is not below RLIMIT_NOFILE
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
        if error.errno == errno.EBADF:
            raise OSError(errno.EBADF, f"descriptor {descriptor} is not open in the parent") from error
        raise
    theirs.callback(os.close, lifted)
    return lifted

"""Processes that are not our children: taken by pidfd, and asked how they ended.

A number that a master tells may by now be a stranger's: the master reaps its children whenever it likes. Only
while a process has that master as its parent, before and after its pidfd was opened, is it the one that was
meant.

What does not work
    waitid on a pidfd: only a parent may. Signals to the number: it is not ours to keep from being reused.

Knows /proc and pidfds. Does not know workers.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from collections.abc import Callable

from ..abc import WorkerExit

__all__ = ["ended", "exit_of", "leads_group", "open_child_of", "pid_of", "told"]

# <linux/pidfd.h>: the ioctl and its struct, as they were when they came (Linux 6.13; exits since 6.15)
_GET_INFO = 0xC040FF0B
_INFO_EXIT = 1 << 3
_INFO_SIZE, _EXIT_OFFSET = 64, 60


def open_child_of(pid: int, master: int, lives: Callable[[], bool]) -> int:
    """The pidfd of this child of a master.

    Args:
        pid: what the master says the child's number is.
        master: the master's own.
        lives: whether the master does; while it does, nobody else has its number.

    Raises:
        ProcessLookupError: it is none, or none any more.
    """
    if _parent_of(pid) != master:
        raise ProcessLookupError(f"process {pid} is no child of {master}")
    pidfd = os.pidfd_open(pid)
    try:
        if _parent_of(pid) != master or not lives():
            raise ProcessLookupError(f"process {pid} is no child of {master} any more")
    except OSError:
        os.close(pidfd)
        raise
    return pidfd


def pid_of(pidfd: int) -> int:
    """The number of the process that this is the descriptor of.

    Raises:
        OSError: it is none, or of a process that was reaped.
    """
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "Pid" and int(value) > 0:
                return int(value)
    raise ProcessLookupError(f"descriptor {pidfd} is that of no process")


def leads_group(pid: int) -> bool:
    """Whether it leads a process group of its own, to be signalled with all that is in it."""
    try:
        return os.getpgid(pid) == pid
    except OSError:
        return False


def _parent_of(pid: int) -> int:
    return int(_fields(pid)[1])


def _fields(pid: int) -> list[bytes]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    # proc_pid_stat(5): pid (comm) state ppid pgrp ...; the name may itself hold parentheses and blanks
    return text.rpartition(b")")[2].split()


def ended(pidfd: int) -> bool:
    """Whether the process has ended, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def exit_of(pidfd: int) -> WorkerExit | None:
    """How a process that has ended did end, by the kernel; None while it does not say so yet.

    Raises:
        OSError: it was reaped, and this kernel does not tell any more.
    """
    status = _status_of_zombie(pidfd)
    if status is None:
        status = _status_of_reaped(pidfd)
    if status is None:
        return None
    if os.WIFSIGNALED(status):
        return told(None, os.WTERMSIG(status))
    return told(os.WEXITSTATUS(status), None)


def _status_of_zombie(pidfd: int) -> int | None:
    try:
        pid = pid_of(pidfd)
        fields = _fields(pid)
        known = fields[0] == b"Z" and pid_of(pidfd) == pid  # so these were its own fields
    except OSError:
        return None
    return int(fields[-1]) if known else None  # exit_code is the last one: proc_pid_stat(5)


def _status_of_reaped(pidfd: int) -> int | None:
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _INFO_EXIT)
    fcntl.ioctl(pidfd, _GET_INFO, info)
    (known,) = struct.unpack_from("=Q", info, 0)
    if not known & _INFO_EXIT:
        return None
    status: int = struct.unpack_from("=i", info, _EXIT_OFFSET)[0]
    return status


def told(code: object, number: object) -> WorkerExit:
    """An exit status or a signal's number, whichever is an integer, as others may have told it."""
    if type(code) is int:
        return WorkerExit(code=code)
    if type(number) is int:
        try:
            return WorkerExit(signal=signal.Signals(number).name)
        except ValueError:
            return WorkerExit(signal=f"signal {number}")
    return WorkerExit(detail="ended; how is not known")

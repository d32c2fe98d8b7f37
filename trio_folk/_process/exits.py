"""How an exit is noticed, and what it was: by pidfd, or by a thread that waits where there is none.

Waiting must not reap: while a dead leader is not reaped, its pid and its group's number are nobody else's,
and signals sent to them hit nobody else. So everything here looks with WNOWAIT, except `reap`.

What does not work
    SIGCHLD with waitpid(-1): takes the exits of the application's own children. si_status without si_code:
    exit 9 and SIGKILL look the same.

Knows one pid at a time. Does not know process groups.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Protocol

import trio

from ..abc import WorkerExit

__all__ = ["STOLEN", "Watch", "look", "open_pidfd", "reap", "watch_for"]

STOLEN = WorkerExit(detail="ended; how is not known, for other code reaped it")
"""SIGCHLD is ignored in this program, or something in it waits for every child."""


class Watch(Protocol):
    """Waits for one process to end. One task at a time."""

    async def wait(self) -> None:
        """Return when the process has ended, or at `close`; now and then for no reason."""

    def close(self) -> None:
        """Wake whoever waits, and let go of what this holds."""


class PidfdWatch:
    """The pidfd becomes readable when its process ends, and stays so. Owns the pidfd."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd

    async def wait(self) -> None:
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._pidfd)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._pidfd)
        os.close(self._pidfd)


class ThreadWatch:
    """One thread waits, from the first `wait` until the process has ended, whoever is cancelled meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended: trio.Event | None = None

    async def wait(self) -> None:
        if self._ended is None:
            self._ended = ended = trio.Event()
            token = trio.lowlevel.current_trio_token()

            def deliver(_: object) -> None:
                with suppress(trio.RunFinishedError):  # the process outlived the run: nobody waits any more
                    token.run_sync_soon(ended.set)

            trio.lowlevel.start_thread_soon(self._block, deliver, f"exit of {self._pid}")
        await self._ended.wait()

    def _block(self) -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        if self._ended is not None:
            self._ended.set()


def open_pidfd(pid: int) -> int | None:
    """A descriptor of this child, or None where there are none (not Linux, before 5.3, seccomp, EMFILE)."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def watch_for(pid: int, pidfd: int | None) -> Watch:
    """What waits for this process."""
    return ThreadWatch(pid) if pidfd is None else PidfdWatch(pidfd)


def look(pid: int, pidfd: int | None) -> WorkerExit | None:
    """How this child ended, or None while it runs. It is not reaped."""
    kind, number = (os.P_PID, pid) if pidfd is None else (os.P_PIDFD, pidfd)
    try:
        found = os.waitid(kind, number, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return STOLEN
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return WorkerExit(code=found.si_status)
    detail = "core dumped" if found.si_code == os.CLD_DUMPED else ""
    return WorkerExit(signal=_name(found.si_status), detail=detail)


def reap(pid: int) -> bool:
    """Take this child's exit away, so that the kernel forgets it; False while it still runs."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # the real-time signals between SIGRTMIN and SIGRTMAX have no names

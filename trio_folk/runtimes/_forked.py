"""A forked worker's process: not our child, so watched, signalled and ended by its pidfd alone.

The zygote that forked it is its parent and reaps it; by then its number may be a stranger's. How it ended is
the zygote's to tell. When that cannot, because it died itself or never learnt to, the kernel is asked.

Invariants
    1. No signal is sent by number, unless the process is known to be alive.
    2. Once `end` has returned, the process and its group are gone, and the pidfd is closed.

Knows one pidfd. Does not know who forks, nor what the process says.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress

import trio

from .._process import group
from .._process.process import GROUP_WAIT, KILL_WAIT
from ..abc import WorkerExit
from . import _pidfd

__all__ = ["ForkedProcess"]

REPORT_WAIT = 1.0
"""Seconds that an exit status is waited for, once the process has ended."""
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.05  # seconds between two questions to the kernel

_log = logging.getLogger("trio_folk.process")


class ForkedProcess:
    """One process that somebody else forked for us. Owns its pidfd.

    Args:
        reports: whether its parent tells how it ended.
        leads: whether it leads a process group.
    """

    def __init__(self, pid: int, pidfd: int, *, reports: bool, leads: bool) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._leads = leads
        self._watching = trio.Lock()  # a descriptor may be waited for by one task only
        self._exit: WorkerExit | None = None
        self._report: WorkerExit | None = None
        self._reported = trio.Event()
        if not reports:
            self._reported.set()

    def __repr__(self) -> str:
        return f"<ForkedProcess {self.pid} {self._exit or 'running'}>"

    @property
    def pidfd(self) -> int:
        """Its descriptor, which stays this object's."""
        return self._pidfd

    @property
    def exit(self) -> WorkerExit | None:
        """How it ended, or None while it runs or while that is not known yet."""
        return self._exit

    def report(self, how: WorkerExit | None) -> None:
        """What its parent tells of its end; None when the parent will tell nothing any more."""
        self._report = how
        self._reported.set()

    async def wait(self) -> WorkerExit:
        """Return when it has ended, and how. Any number of tasks may wait.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while self._exit is None:
            async with self._watching:
                if self._exit is None:
                    await trio.lowlevel.wait_readable(self._pidfd)
                    self._exit = await self._how()
        return self._exit

    def signal_group(self, sig: int) -> None:
        """Signal it and its group; also the group alone, after it has ended. Nothing once `end` has returned."""
        if self._pidfd < 0:
            return
        alive = not _pidfd.ended(self._pidfd)
        if self._leads:
            group.send_group(self.pid, self._pidfd, sig, leader_is_ours=alive)
        elif alive:
            self._signal(sig)

    async def end(self) -> None:
        """End it and everything of it. Bounded by `KILL_WAIT` and `GROUP_WAIT`; the caller shields."""
        try:
            if not _pidfd.ended(self._pidfd):
                self.signal_group(signal.SIGKILL)
                self._signal(signal.SIGKILL)  # it may have left its group
                with trio.move_on_after(KILL_WAIT):
                    await self.wait()
            self.signal_group(signal.SIGKILL)  # what it left behind
            if not _pidfd.ended(self._pidfd):
                _log.error("process %d has not ended although it was killed", self.pid)
        finally:
            self.let_go()
        if self._leads:
            with trio.move_on_after(GROUP_WAIT):
                await group.wait_gone(self.pid)

    def let_go(self) -> None:
        """Close the pidfd; the process is somebody else's."""
        pidfd, self._pidfd = self._pidfd, -1
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)

    def _signal(self, sig: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, sig)

    async def _how(self) -> WorkerExit:
        pause = _FIRST_PAUSE
        with trio.move_on_after(REPORT_WAIT):
            await self._reported.wait()
            while self._report is None:
                try:
                    self._report = _pidfd.exit_of(self._pidfd)
                except OSError:
                    break  # before Linux 6.15
                if self._report is None:
                    await trio.sleep(pause)  # it is not reaped yet
                    pause = min(2 * pause, _LAST_PAUSE)
        return self._report or _pidfd.told(None, None)

"""A running process and the block that owns it, from the launch until it is reaped.

A pid without an owner is a leak or, once the kernel has given the number away, a signal to a stranger. The
block owns it: nothing else reaps, and nothing signals after the reaping.

Invariants
    1. However the block is left, and wherever it was cancelled, afterwards the process is reaped, its group
       killed, its descriptors closed; or, if it does not even die when killed, `orphans` has its pid.
    2. A launch is never abandoned: the thread that makes the process hands it over before anybody may leave.
    3. No signal is sent to a number that may be a stranger's.

Knows one process. Does not know what it says, nor when it should end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import final

import trio

from ..abc import WorkerExit
from . import exits, group, launch, orphans
from .plan import Plan
from .spec import ProcessSpec
from .wards import guarded

__all__ = ["Process", "open_process"]

LAUNCHES_AT_ONCE = 4
"""How many launches one trio run makes at the same time, unless a limiter is given."""
KILL_WAIT = 5.0
"""Seconds that a process is given to end after SIGKILL, before it is left to `orphans`."""
GROUP_WAIT = 1.0
"""Seconds that the rest of its group is given to end after SIGKILL."""

_UNDEAD = WorkerExit(detail="has not ended, although it was killed")
_launches: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("trio_folk launches")


@final
class Process:
    """One running process, made by `open_process`.

    Attributes:
        pid: its process id, and the number of the process group that it leads.
        stdout_fd: the non-blocking read end of its standard output; -1 once it is closed.
        stderr_fd: the same of its standard error. Both belong to the block: who reads them, reads inside it.
    """

    def __init__(self, launched: launch.Launched) -> None:
        self.pid = launched.pid
        self.stdout_fd = launched.stdout_fd
        self.stderr_fd = launched.stderr_fd
        self._pidfd = launched.pidfd
        self._watch = exits.watch_for(launched.pid, launched.pidfd)
        self._watching = trio.Lock()  # a descriptor may be waited for by one task only
        self._exit: WorkerExit | None = None
        self._owned = True

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.exit or 'running'}>"

    @property
    def exit(self) -> WorkerExit | None:
        """How it ended, or None while it runs; known as soon as the kernel knows."""
        if self._exit is None:
            self._exit = exits.look(self.pid, self._pidfd)
        return self._exit

    async def wait(self) -> WorkerExit:
        """Return when it has ended, and how; it is not reaped by this. Any number of tasks may wait.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if (ended := self.exit) is not None:
                return ended
            async with self._watching:
                if self.exit is None:
                    await self._watch.wait()

    def signal(self, sig: int) -> None:
        """Signal it alone. Nothing happens once it has ended."""
        if self.exit is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if self._pidfd is None:
                os.kill(self.pid, sig)  # not reaped, so the number is still its own
            else:
                signal.pidfd_send_signal(self._pidfd, sig)

    def signal_group(self, sig: int) -> None:
        """Signal it and every process of its group, also after it has ended; nothing once it is reaped."""
        if self._owned:
            ours = self.exit is not exits.STOLEN
            group.send_group(self.pid, self._pidfd, sig, leader_is_ours=ours)

    @trio.lowlevel.enable_ki_protection
    async def end(self) -> None:
        """End it and everything of it; for its owner. Bounded by `KILL_WAIT` and `GROUP_WAIT`; the caller shields."""
        try:
            if self.exit is None:
                self.signal_group(signal.SIGKILL)
                self.signal(signal.SIGKILL)  # it may have left its group
                with trio.move_on_after(KILL_WAIT):
                    await self.wait()
            # what it left behind, while its pid still holds the group's number
            self.signal_group(signal.SIGKILL)
        finally:
            gone = self._let_go()
        if gone:
            with trio.move_on_after(GROUP_WAIT):
                await group.wait_gone(self.pid)

    def _let_go(self) -> bool:
        """Reap it, or leave it to `orphans`; close everything. True when it was reaped."""
        gone = self.exit is not None
        if gone:
            if self.exit is not exits.STOLEN:  # else the number may by now be another child's
                exits.reap(self.pid)
        else:
            orphans.adopt(self.pid)
            self._exit = _UNDEAD
        self._owned = False
        self._pidfd = None
        self._watch.close()
        for descriptor in (self.stdout_fd, self.stderr_fd):
            trio.lowlevel.notify_closing(descriptor)
            os.close(descriptor)
        self.stdout_fd = self.stderr_fd = -1
        return gone


@asynccontextmanager
async def open_process(
    spec: ProcessSpec, *, limiter: trio.CapacityLimiter | None = None
) -> AsyncIterator[Process]:
    """Launch a process and own it: when the block is left, it and its group are gone and reaped.

    Args:
        spec: what to launch.
        limiter: bounds the launches made at once; by default four in this trio run.

    Raises:
        BootFailed: it could not be launched; nothing is left.

    Always a checkpoint. Cancellation: a launch under way is finished, and its process killed and reaped.
    """
    orphans.reap_ended()
    plan = Plan.of(spec)
    made: list[Process] = []

    def make() -> None:
        made.append(Process(launch.launch(plan)))

    try:
        # through a list: a KeyboardInterrupt between a return and its assignment would lose the pid
        await trio.to_thread.run_sync(make, abandon_on_cancel=False, limiter=limiter or _default_limiter())
        await trio.lowlevel.checkpoint_if_cancelled()  # cancelled meanwhile: the body need not begin
        with guarded(made[0].pid, made[0]._pidfd):
            yield made[0]
    finally:
        with trio.CancelScope(shield=True):
            for process in made:
                await process.end()


def _default_limiter() -> trio.CapacityLimiter:
    try:
        return _launches.get()
    except LookupError:
        limiter = trio.CapacityLimiter(LAUNCHES_AT_ONCE)
        _launches.set(limiter)
        return limiter

"""Watching a process that is not our child: by a pidfd that is proven to be its own, else by looking.

A daemon belongs to nobody who asks for it, so nobody can wait for it in the usual way; and its number may be given
away the moment after it was read from a file.

Invariants
    1. A watch is of one process: what was proven to be it after the descriptor was opened stays it.
    2. No signal goes to a stranger where there are pidfds; elsewhere the start time is compared first.

Knows one process. Does not know why it is watched.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from ._record import Record

__all__ = ["Watch", "watching"]

LOOK_EVERY = 0.05
"""Seconds between two looks where there are no pidfds."""


class Watch:
    """One process, alive when it was made; `watching` gives one."""

    def __init__(self, record: Record, pidfd: int | None) -> None:
        self._record = record
        self._pidfd = pidfd

    def __repr__(self) -> str:
        return f"<Watch of {self._record.pid}, {'alive' if self.alive else 'ended'}>"

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._record.lives

    async def wait(self) -> None:
        """Return when it has ended. Always a checkpoint. Cancellation leaves nothing behind."""
        await trio.lowlevel.checkpoint()
        while self.alive:
            if self._pidfd is None:
                await trio.sleep(LOOK_EVERY)
            else:
                await trio.lowlevel.wait_readable(self._pidfd)  # pidfd_open(2): readable when it terminates

    async def ended_within(self, seconds: float) -> bool:
        """Whether it ended within this time. Always a checkpoint. Cancellation leaves nothing behind."""
        with trio.move_on_after(seconds):
            await self.wait()
        return not self.alive

    def signal(self, sig: int) -> None:
        """Signal it; nothing happens once it has ended."""
        with suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, sig)
            elif self._record.pid is not None and self.alive:
                os.kill(self._record.pid, sig)


@contextmanager
def watching(record: Record) -> Iterator[Watch | None]:
    """Watch the record's process, or None if it has ended."""
    pidfd = None
    if record.pid is not None and hasattr(os, "pidfd_open"):
        with suppress(OSError):
            pidfd = os.pidfd_open(record.pid)
    try:
        yield Watch(record, pidfd) if record.lives else None  # invariant 1: looked at after it was opened
    finally:
        if pidfd is not None:
            os.close(pidfd)

"""The guardian kept: started with the first process that needs it, replaced when it dies, ended with the last user.

Processes are to be gone a second after this program was SIGKILLed; then nothing of ours runs but the guardian. One
serves a whole trio run. It has no task of its own that nobody owns: of all blocks of `open_guardian`, one keeps
it, and when that is left, another goes on.

Invariants
    1. Outside every block of `open_guardian` there is no guardian, and nothing of it.
    2. Everything that it is to know waits in its socket before it is launched: there is no gap after the launch.
    3. It is ended by SIGKILL, never by closing its socket: that would end the processes that others still own.
    4. Whatever fails here costs protection and a line in the log, never a process or a pool.

Knows one helper process. Does not know what the others are, nor when they end.
Picture: docs/design/guardian.md
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .._errors import BootFailed
from . import launch
from .guardian import CHANNEL
from .plan import Plan
from .process import Process
from .spec import ProcessSpec
from .wards import wards_of_this_run

__all__ = ["Guard", "open_guardian", "why_unguarded"]

STEADY = 10.0
"""Seconds after which a guardian's death is an accident, and no sign that guardians cannot live here."""
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 30.0  # seconds before one that did not live so long is replaced again
_SCRIPT = Path(__file__).with_name("guardian.py")
_LAST_WORDS = 4096  # bytes of its standard error: one traceback

_log = logging.getLogger("trio_folk.process")
_current: trio.lowlevel.RunVar[Guard] = trio.lowlevel.RunVar("trio_folk guard")


class Guard:
    """The guardian of one trio run, and who needs it.

    Attributes:
        process: the guardian's own, while there is one.
        launched: set while there is one.
    """

    def __init__(self) -> None:
        self.process: Process | None = None
        self.launched = trio.Event()
        self._wards = wards_of_this_run()
        self._users = 0
        self._turn = trio.Lock()  # of several users, one keeps it
        self._channel: socket.socket | None = None
        self._pause = 0.0
        self._since = 0.0

    def join(self) -> None:
        """Be one more user."""
        if not self._users and not self._wards:
            self._wards.wanted = trio.Event()  # who wanted it is gone
        self._users += 1

    async def leave(self) -> None:
        """Be one less; the last one ends the guardian. The caller shields; bounded by KILL_WAIT."""
        self._users -= 1
        if not self._users:
            await self._end()

    @trio.lowlevel.enable_ki_protection
    async def keep(self, life: trio.CancelScope) -> None:
        """See to it that there is a guardian, from the first process on that needs one, until ``life`` ends.

        Cancellation: by ``life``; the guardian goes on, and belongs to all users.
        """
        with life:
            async with self._turn:
                if (reason := why_unguarded()) is not None:
                    _log.warning("should this program be killed, its workers may outlive it: %s", reason)
                    await trio.sleep_forever()
                while True:
                    if self.process is None:
                        await self._wards.wanted.wait()
                        await self._start()
                    if self.process is not None:
                        await self._attend(self.process)
                    with trio.CancelScope(shield=True):  # bounded by KILL_WAIT
                        await self._end()
                    await self._rest()

    async def _start(self) -> None:
        made: list[Process] = []
        try:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._wards.connect(self._channel)  # invariant 2
                plan = Plan.of(_spec(theirs.fileno()))
                await trio.to_thread.run_sync(lambda: made.append(Process(launch.launch(plan))))
        except (OSError, BootFailed) as error:
            _log.warning("no guardian: %s; trying again", error)
        finally:
            self._since = trio.current_time()
            if made:
                self.process = made[0]
                self.launched.set()

    async def _attend(self, process: Process) -> None:
        """Return when it has died, or cannot be told any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, nursery.cancel_scope)
            await process.wait()
            nursery.cancel_scope.cancel()
        _log.warning(
            "the guardian, process %d, %s; it is replaced%s", process.pid, _how(process), _words(process)
        )

    async def _pump(self, scope: trio.CancelScope) -> None:
        while True:
            await self._wards.stuck.wait()
            if self._channel is None or not self._wards.connected:
                scope.cancel()
                return
            await trio.lowlevel.wait_writable(self._channel)
            self._wards.tell()

    async def _rest(self) -> None:
        if trio.current_time() - self._since >= STEADY:
            self._pause = 0.0
        pause, self._pause = self._pause, min(max(2 * self._pause, _FIRST_PAUSE), _LAST_PAUSE)
        await trio.sleep(pause)

    async def _end(self) -> None:
        """End it; another may be started meanwhile."""
        process, self.process = self.process, None
        channel, self._channel = self._channel, None
        self._wards.disconnect()
        if self.launched.is_set():
            self.launched = trio.Event()
        try:
            if process is not None:
                await process.end()  # invariant 3
        finally:
            if channel is not None:
                channel.close()


@asynccontextmanager
async def open_guardian() -> AsyncIterator[Guard]:
    """While the block lasts, the processes of this trio run are ended even if this program is SIGKILLed.

    Entering is no checkpoint, leaving is. Cancellation: the guardian is ended, if nobody else needs it.
    """
    guard = _guard_of_this_run()
    life = trio.CancelScope(shield=True)  # it is the last to go: what the block ends is guarded until then
    error: BaseException | None = None
    guard.join()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guard.keep, life, name="guardian")
            try:
                yield guard
            except BaseException as raised:
                error = raised  # it leaves bare
            life.cancel()
    finally:
        with trio.CancelScope(shield=True):  # bounded by KILL_WAIT
            await guard.leave()
    if error is not None:
        raise error


def why_unguarded() -> str | None:
    """Why there can be no guardian here, or None where there can."""
    if not hasattr(os, "pidfd_open"):
        return "there is no pidfd_open(2) here: Linux 5.3 and later have it"
    if not sys.executable or getattr(sys, "frozen", False):
        return "a program without an interpreter of its own cannot start a guardian"
    if not _SCRIPT.is_file():
        return f"{_SCRIPT} is not there: trio_folk must be installed as files"
    return None


def _how(process: Process) -> str:
    if process.exit is None:
        return "cannot be told of processes any more"
    return f"was {process.exit}" if process.exit.signal else str(process.exit)


def _words(process: Process) -> str:
    """What it said last, as the end of a line in the log."""
    try:
        said = os.read(process.stderr_fd, _LAST_WORDS).decode(errors="replace").strip()
    except OSError:
        return ""
    return f":\n{said}" if said else ""


def _spec(channel: int) -> ProcessSpec:
    argv = (sys.executable, "-I", "-S", os.fspath(_SCRIPT), f"of process {os.getpid()}")
    return ProcessSpec(argv=argv, fds={CHANNEL: channel})


def _guard_of_this_run() -> Guard:
    try:
        return _current.get()
    except LookupError:
        guard = Guard()
        _current.set(guard)
        return guard

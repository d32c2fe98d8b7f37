"""The parent's handle on a zygote: a process that forks workers on request.

Its end must cost no worker, and yet it is their parent. So there are two ends: retired, it forks no more, and
the next worker comes from another; it goes when the last of its own has.

Invariants
    1. A zygote that is retired, or dead, harms no worker: it stays until the last of them has ended, because
       it is their parent and may lead their group.
    2. However its task ends, the process is gone, and every worker of it knows that nobody reports its end.

Knows the two channels of a zygote. Does not know slots, nor when another zygote is wanted.
Picture: docs/design/fork.md
"""

from __future__ import annotations

import copy
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import trio

from .._errors import BootFailed, BootTimeout, ProtocolError, SpawnError
from .._process import Output, Process, descend, guarded, open_process
from .._wire import Message, Notify
from ..abc import Ladder, Rung
from ._claims import Claims
from ._control import ControlChannel, Refusal, fork_ready
from ._forked import ForkedProcess
from ._life import LAST_WORDS
from ._program import Program
from ._requests import Requests
from ._sockets import Sockets

__all__ = ["Retired", "Zygote"]

CLOSING = 1.0
"""Seconds that its workers have to end before it does, when the runtime is left."""
LADDER = Ladder(stop=1.0, terminate=1.0, kill=5.0)


class Retired(Exception):
    """The zygote forks no more, and this request never reached it: ask another."""


class Zygote:
    """One process that forks.

    Args:
        program: what is launched.
        name: what its own output is logged under.
        most_forks: after so many it is retired.
        boot_timeout: seconds until it must be able to fork.
    """

    def __init__(self, program: Program, name: str, *, most_forks: int, boot_timeout: float) -> None:
        self.features: frozenset[str] = frozenset()
        self.output = Output(name)
        self.pid: int | None = None
        self._name = name
        self._program = program
        self._forks_left = most_forks
        self._boot_timeout = boot_timeout
        self._said = trio.Event()  # that it can fork, or never will
        self._dead = trio.Event()
        self._drained = trio.Event()
        self._claims = Claims()
        self._requests: Requests | None = None
        self._failure: SpawnError | None = None

    def __repr__(self) -> str:
        return f"<zygote {self._name} pid {self.pid}: {self._claims}>"

    @property
    def retired(self) -> str | None:
        """Why it forks no more, or None while it does."""
        return self._claims.retired

    # -- what births ask of it

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Be somebody for whom it must stay: a worker, or one who wants one."""
        try:
            with self._claims.one():
                yield
        finally:
            if not self._claims and self._requests is None:
                self._fail(BootFailed("nobody waits for it any more"))

    async def ready(self) -> None:
        """Return when it can fork.

        Raises:
            SpawnError: it never will.
        """
        await self._said.wait()
        if self._failure is not None:
            raise copy.copy(self._failure)  # each who waits adds to it whose birth has failed

    @asynccontextmanager
    async def forked(self, descriptors: Sequence[int]) -> AsyncIterator[ForkedProcess]:
        """A new process with these descriptors; it and its group are gone when the block is left.

        Raises:
            Retired: it forks no more; nothing was asked.
            BootFailed: it did not fork.

        Cancellation: an answer is still waited for, for CANCELLED_TIMEOUT; its process is ended.
        """
        requests = self._requests
        if requests is None:
            raise Retired
        async with requests.turn:
            if self._process.exit is not None:
                self.retire("it has died")  # the kernel knows a moment before its watcher does
            if self.retired is not None:
                raise Retired
            self._forks_left -= 1
            if not self._forks_left:
                self.retire("it has forked as often as it may")
            process = await requests.fork(descriptors)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            with guarded(process.pid, process.pidfd):
                yield process
        finally:
            with trio.CancelScope(shield=True):  # bounded: ForkedProcess.end
                await process.end()
            requests.forget(process)

    def retire(self, reason: str) -> None:
        """Fork no more; end once the last worker has."""
        self._claims.retire(reason)

    # -- its life

    async def run(self) -> None:
        """Be the zygote, from its launch to its end.

        Cancellation: it is ended; its workers have CLOSING to end before it.
        """
        try:
            with Sockets() as self._sockets:
                async with open_process(self._program.spec(self._sockets)) as self._process:
                    self.pid = self._process.pid
                    self._sockets.close_child_ends()
                    await self._live(self._process)
        except BootFailed as error:
            self._fail(error)
        finally:
            self._fail(BootFailed("the zygote was ended before it could fork"))
            self._note_death("it ended")

    async def _live(self, process: Process) -> None:
        crew = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._attend, process, crew)
            try:
                with trio.move_on_after(self._boot_timeout) as patience:
                    await self._said.wait()
                if patience.cancelled_caught:
                    self._fail(BootTimeout(f"the zygote was not ready within {self._boot_timeout:g} s"))
                await self._claims.over.wait()
            finally:
                with trio.CancelScope(shield=True):  # bounded by CLOSING, LADDER and LAST_WORDS
                    await self._end(process)
                crew.cancel()

    async def _end(self, process: Process) -> None:
        self.retire("its pool was closed")
        with trio.move_on_after(CLOSING):
            await self._claims.over.wait()
        if self._claims.over.is_set():
            await descend(process, LADDER, Rung.STOP, self._close)
        else:
            process.signal(signal.SIGKILL)  # at an end of file it would take its workers along
        with trio.move_on_after(LAST_WORDS):
            await self._drained.wait()

    def _close(self) -> None:
        for each in (self._sockets.task, self._sockets.control):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if not self.features:
            # Folk's master waits for descriptors, and looks whether it was told to end when none come any more.
            self._process.signal(signal.SIGTERM)

    async def _attend(self, process: Process, crew: trio.CancelScope) -> None:
        with crew:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                nursery.start_soon(self._watch, process)
                async with trio.open_nursery() as output:
                    output.start_soon(self.output.drain_stdout, process.stdout_fd)
                    output.start_soon(self.output.drain_stderr, process.stderr_fd)
                self._drained.set()

    async def _watch(self, process: Process) -> None:
        how = await process.wait()
        with trio.move_on_after(LAST_WORDS):
            await self._drained.wait()
        ended = f"was {how}" if how.signal else str(how)
        error = BootFailed(f"the zygote {ended} before it could fork", exit_code=how.code, signal=how.signal)
        self._fail(error)
        self._note_death(f"the zygote {ended}")

    async def _listen(self) -> None:
        control = ControlChannel(self._sockets.control, self._program.max_frame)
        try:
            while messages := await control.receive():
                for message in messages:
                    self._take(message)
        except ProtocolError as error:
            self._fail(BootFailed(error.message, hint=error.hint))
            self._kill(f"it broke the protocol: {error.message}")
            return
        with trio.move_on_after(CLOSING):  # its death closes the channel a moment before it is noticed
            await self._dead.wait()
        self._kill("it closed its control channel")

    def _take(self, message: Message) -> None:
        if not self._said.is_set():
            self._take_first(fork_ready(message))
        elif self._requests is not None and isinstance(message, Notify):
            told = message.params if isinstance(message.params, dict) else {}
            self._requests.take(message.method, told)

    def _take_first(self, said: frozenset[str] | Refusal) -> None:
        if isinstance(said, Refusal):
            error = BootFailed(said.message)
            error.remote_traceback = said.remote_traceback
            self._fail(error)
            return
        self.features = said
        self._requests = Requests(
            self._sockets, self._process, said, self._program.max_frame, self.retire, self._kill
        )
        self._said.set()

    # -- how it ends

    def _kill(self, reason: str) -> None:
        self.retire(reason)
        self._process.signal(signal.SIGKILL)  # it alone: its group may be its workers' too

    def _fail(self, error: SpawnError) -> None:
        """It never was able to fork: this is why, unless it was, or another reason came first."""
        if self._said.is_set():
            return
        error.stage = error.stage or "boot"
        error.stderr = self.output.tail
        self._failure = error
        self.retire(error.message)
        self._said.set()

    def _note_death(self, reason: str) -> None:
        self._dead.set()
        self.retire(reason)
        if self._requests is not None:
            self._requests.end(reason)  # invariant 2

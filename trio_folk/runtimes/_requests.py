"""Requests to fork: descriptors go out to a zygote, and the process that it forked comes back.

A zygote that is one answer behind gives every later worker the pid of another. So there is one request at a
time, and after anything unexpected there is none any more.

Invariants
    1. A request without an answer, and an answer without a request, cost the zygote its life.
    2. No process is taken but the zygote's child, whatever number it tells.

Knows both channels of a zygote that can fork. Does not know how it came to be, nor who wants workers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import trio

from .._errors import BootFailed, ProtocolError
from .._process import Process
from .._wire import encode_notify
from . import _pidfd
from ._forked import ForkedProcess
from ._sockets import Sockets

__all__ = ["Requests"]

FORK_TIMEOUT = 10.0
"""Seconds that a zygote has for one fork."""
CANCELLED_TIMEOUT = 1.0
"""Seconds that it has left once nobody wants the worker any more."""


class _Request:
    """One request to fork, until it is answered."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.process: ForkedProcess | None = None
        self.error: BootFailed | None = None


class Requests:
    """What one zygote is asked for, and the processes that came of it.

    Args:
        sockets: its channels, owned by whoever made them.
        process: the zygote's own.
        features: what it announced.
        limit: the longest message, in bytes.
        retire: told when it should be asked no more, and why.
        kill: told when it must end, and why.
    """

    def __init__(
        self,
        sockets: Sockets,
        process: Process,
        features: frozenset[str],
        limit: int,
        retire: Callable[[str], None],
        kill: Callable[[str], None],
    ) -> None:
        self._sockets = sockets
        self._process = process
        self._features = features
        self._limit = limit
        self._retire = retire
        self._kill = kill
        self._request: _Request | None = None
        self._workers: dict[int, ForkedProcess] = {}

    async def fork(self, descriptors: Sequence[int]) -> ForkedProcess:
        """A new process with these descriptors. The caller sees to it that requests take turns.

        Raises:
            BootFailed: it did not fork.

        Cancellation: an answer is still waited for, for CANCELLED_TIMEOUT; its process is ended.
        """
        request = self._request = _Request()
        try:
            self._send(descriptors)
            with trio.move_on_after(FORK_TIMEOUT):
                await request.answered.wait()
        except trio.Cancelled:
            with trio.move_on_after(CANCELLED_TIMEOUT, shield=True):
                await request.answered.wait()
            if request.process is not None:
                with trio.CancelScope(shield=True):  # bounded: ForkedProcess.end
                    await request.process.end()
            raise
        finally:
            self._request = None
            if not request.answered.is_set():
                self._kill("it did not answer a request in time")  # invariant 1
        if request.process is None:
            raise request.error or BootFailed("the zygote did not answer a request in time", stage="launch")
        return request.process

    def _send(self, descriptors: Sequence[int]) -> None:
        """Both parts of a request. The last one was answered, so there is room for it in the sockets."""
        frame = encode_notify("fork.spawn", None, self._limit)
        try:
            socket.send_fds(self._sockets.task, [b"\0"], descriptors)
            whole = self._sockets.control.send(frame) == len(frame)
        except OSError:
            whole = False  # it is dead or stuck
        if not whole:
            self._kill("it takes no requests")

    def take(self, method: str, told: dict[Any, Any]) -> None:
        """Hear one notification.

        Raises:
            ProtocolError: it answers no request.
        """
        if method == "fork.spawned":
            self._answer(told)
        elif method == "folk.refused":
            self.refuse(str(told.get("message") or "it refused to"))
        elif method == "folk.exited":
            process = self._workers.pop(told.get("pid", -1), None)
            if process is not None:
                process.report(_pidfd.told(told.get("code"), told.get("signal")))

    def forget(self, process: ForkedProcess) -> None:
        """It is gone: its number may be the next one's."""
        if self._workers.get(process.pid) is process:
            del self._workers[process.pid]

    def end(self, reason: str) -> None:
        """The zygote is dead: nothing is answered any more, and nobody's end is told."""
        self.refuse(reason)
        for process in self._workers.values():
            process.report(None)
        self._workers.clear()

    def _answer(self, told: dict[Any, Any]) -> None:
        request = self._request
        if request is None or request.answered.is_set():
            raise ProtocolError("fork.spawned without a request")
        try:
            process = self._process_of(told.get("pid"))
        except OSError as error:
            self.refuse(f"its new worker cannot be watched: {error}")
            return
        if process.pid in self._workers:  # an answer to an earlier request, given twice
            process.let_go()
            raise ProtocolError(f"fork.spawned tells of process {process.pid} again")
        self._workers[process.pid] = request.process = process
        request.answered.set()

    def _process_of(self, pid: object) -> ForkedProcess:
        """The process that was forked, whatever number it is told to have."""
        if "fork-pidfd" in self._features:
            _, given, _, _ = socket.recv_fds(self._sockets.task, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if len(given) != 1:
                raise OSError("no pidfd came with it")
            pidfd = given[0]
            number = _pidfd.pid_of(pidfd)
        elif type(pid) is int:
            number, pidfd = (
                pid,
                _pidfd.open_child_of(pid, self._process.pid, lambda: self._process.exit is None),
            )
        else:
            raise OSError(f"{pid!r} is no pid")
        leads = _pidfd.leads_group(number)
        return ForkedProcess(number, pidfd, reports="fork-exit" in self._features, leads=leads)

    def refuse(self, why: str) -> None:
        """Nothing was forked."""
        self._retire(f"it did not fork: {why}")
        if self._request is not None and not self._request.answered.is_set():
            self._request.error = BootFailed(f"no worker was forked: {why}", stage="launch")
            self._request.answered.set()

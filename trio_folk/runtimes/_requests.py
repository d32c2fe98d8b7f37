"""Requests to fork: descriptors go out to a zygote, and the process that it forked comes back.

A zygote that is one answer behind gives every later worker the pid of another. So answers come in the order of
the requests, and after anything unexpected there is none any more.

Invariants
    1. A request without an answer, and an answer without a request, cost the zygote its life.
    2. No process is taken but the zygote's child, whatever number it tells.
    3. A zygote that did not say that it takes requests ahead of its answers has one at a time.

Knows both channels of a zygote that can fork. Does not know how it came to be, nor who wants workers.
"""

from __future__ import annotations

import socket
from collections import deque
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
AHEAD = 16
"""Requests that are under way at most, where the zygote takes several: all of them fit into its sockets."""


class _Request:
    """One request to fork, until it is answered."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.process: ForkedProcess | None = None
        self.error: BootFailed | None = None

    def refuse(self, why: str) -> None:
        """Nothing was forked."""
        self.error = BootFailed(f"no worker was forked: {why}", stage="launch")
        self.answered.set()


class Requests:
    """What one zygote is asked for, and the processes that came of it.

    Args:
        sockets: its channels, owned by whoever made them.
        process: the zygote's own.
        features: what it announced.
        limit: the longest message, in bytes.
        retire: told when it should be asked no more, and why.
        kill: told when it must end, and why.

    Attributes:
        turn: held by whoever asks, from before he asks until he is answered.
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
        self.turn = trio.CapacityLimiter(AHEAD if "fork-ahead" in features else 1)  # invariant 3
        self._waiting: deque[_Request] = deque()  # what was asked and not answered, oldest first
        self._workers: dict[int, ForkedProcess] = {}

    async def fork(self, descriptors: Sequence[int]) -> ForkedProcess:
        """A new process with these descriptors. The caller holds the turn.

        Raises:
            BootFailed: it did not fork.

        Cancellation: an answer is still waited for, for CANCELLED_TIMEOUT; its process is ended.
        """
        request = _Request()
        self._waiting.append(request)
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
                self.forget(request.process)
            raise
        finally:
            if not request.answered.is_set():
                self._give_up("the zygote did not answer a request in time")  # invariant 1
        if request.error is not None:
            raise request.error
        assert request.process is not None, "an answer is a process or an error"
        return request.process

    def _send(self, descriptors: Sequence[int]) -> None:
        """Both parts of a request. Few are unanswered, so there is room for it in the sockets."""
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
            self._refuse(str(told.get("message") or "it refused to"))
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
        self._refuse_all(reason)
        for process in self._workers.values():
            process.report(None)
        self._workers.clear()

    def _answer(self, told: dict[Any, Any]) -> None:
        if not self._waiting:
            raise ProtocolError("fork.spawned without a request")
        try:
            process = self._process_of(told.get("pid"))
        except OSError as error:
            self._refuse(f"its new worker cannot be watched: {error}")
            return
        if process.pid in self._workers:  # an answer to an earlier request, given twice
            process.let_go()
            raise ProtocolError(f"fork.spawned tells of process {process.pid} again")
        request = self._waiting.popleft()
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

    def _refuse(self, why: str) -> None:
        """Nothing was forked for the oldest request."""
        self._retire(f"it did not fork: {why}")
        if self._waiting:
            self._waiting.popleft().refuse(why)

    def _refuse_all(self, why: str) -> None:
        while self._waiting:
            self._waiting.popleft().refuse(why)

    def _give_up(self, why: str) -> None:
        """Whatever it still answers is nobody's: it must end, and all who wait are told."""
        self._kill(why)
        self._refuse_all(why)

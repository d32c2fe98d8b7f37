"""The zygote: imports once, then forks workers on request, and tells how each of them ended.

Each spawned worker pays for the interpreter and every import again; a forked one shares them. But whatever is
copied by a fork and was meant for one process (a thread's lock, a descriptor, a random seed, half a line in a
buffer) is wrong in every copy. So a zygote does nothing but import, wait and fork.

Invariants
    1. More than one thread at a fork is a refusal that names them, unless allowed.
    2. After a fork the zygote holds nothing of the worker but its pidfd, and the worker nothing of the zygote.
    3. An ended worker's group is killed before the worker is reaped: until then its number is nobody else's.
    4. End of file on the control channel ends the zygote and all it has forked.
    5. Requests are answered in their order.

Knows two channels and its children. Does not know calls.
Picture: docs/design/fork.md
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from .._wire import Message, MessageDecoder, Notify, encode_notify
from ._after_fork import become_worker
from ._sync import write_whole
from ._threads import threads_but_main

__all__ = ["FEATURES", "Zygote"]

FEATURES = ("fork-pidfd", "fork-exit", "fork-output", "fork-ahead")
_MOST_DESCRIPTORS = 16  # a message with more than it should have is not cut short in silence


class Zygote:
    """The loop of the process that forks.

    Args:
        channel: descriptor 3: the new workers' descriptors come in, their pidfds go out.
        control: descriptor 4: requests come in, what became of them and of the workers goes out.
        limit: the longest message either way.
        allow_threads: whether it forks although there are other threads.
    """

    def __init__(self, channel: socket.socket, control: int, limit: int, *, allow_threads: bool) -> None:
        self._channel = channel
        self._control = control
        self._limit = limit
        self._allow_threads = allow_threads
        self._decoder = MessageDecoder(limit)
        self._children: dict[int, int] = {}  # pidfd -> pid
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def run(self) -> bool:
        """Serve until the end of file: false then. Returns true in each forked worker, as that."""
        gc.collect()
        gc.freeze()  # a collection in a worker would otherwise write to, and so copy, every page
        if not self._tell("control.fork-ready", {"pid": os.getpid(), "folk": {"v": 1, "features": FEATURES}}):
            return False
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control:
                    self._bury(fd)
                    continue
                data = self._read()
                if not data:
                    self._end_all()
                    return False
                if self._serve(sum(map(_asks, self._decoder.feed(data)))):
                    return True

    def _serve(self, asked: int) -> bool:
        """Answer so many requests; true in each new worker.

        First all are forked, then all are told: whatever page is written to between two forks is copied for it.
        """
        requests = [self._receive() for _ in range(asked)]
        answers = []
        try:
            for given in requests:
                answer = self._fork(given)
                if answer is None:
                    return True
                answers.append(answer)
        finally:
            for given in requests:
                _close(given)  # in all of them: a worker has moved its own (invariant 2)
        for answer in answers:
            self._answer(answer)
        return False

    def _fork(self, given: list[int]) -> int | str | None:
        """The new worker's pidfd, or why there is none; None in the worker."""
        try:
            refusal = self._refusal(given)
            if refusal is not None:
                return refusal
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()  # else every worker would write it again
            pid = os.fork()
            if pid:
                return self._adopt(pid)
        except OSError as error:
            return f"the zygote could not fork: {error}"
        become_worker(given, self._channel.detach(), self._control, self._children)
        return None

    def _refusal(self, given: list[int]) -> str | None:
        if len(given) not in (2, 4):
            return f"{len(given)} descriptors came with the request, not 2 or 4"
        return None if self._allow_threads else threads_but_main()

    def _adopt(self, pid: int) -> int:
        """The pidfd of a new child."""
        try:
            os.setpgid(pid, pid)  # the child does so too: whoever is first
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._children[pidfd] = pid
        return pidfd

    def _answer(self, answer: int | str) -> None:
        """Hand a child over to the parent, its pidfd first and then its pid; or say why there is none."""
        if isinstance(answer, str):
            self._tell("folk.refused", {"message": answer})
            return
        self._poll.register(answer, select.POLLIN)
        with suppress(OSError):  # nobody is there to take it: the end of file comes next
            socket.send_fds(self._channel, [b"\0"], [answer])
        self._tell("fork.spawned", {"pid": self._children[answer]})

    def _bury(self, pidfd: int) -> None:
        """End an ended worker's group, reap it, and tell."""
        pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        params: dict[str, object] = {"pid": pid}
        with suppress(OSError):  # nobody is left in it
            os.killpg(pid, signal.SIGKILL)  # invariant 3
        try:
            found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        except ChildProcessError:
            found = None  # user code waits for every child, or ignores SIGCHLD
        os.close(pidfd)
        if found is not None:
            params["code" if found.si_code == os.CLD_EXITED else "signal"] = found.si_status
        self._tell("folk.exited", params)

    def _end_all(self) -> None:
        for pid in self._children.values():
            for kill in (os.killpg, os.kill):
                with suppress(OSError):
                    kill(pid, signal.SIGKILL)  # not reaped: the number is its own
        for pidfd in list(self._children):
            self._bury(pidfd)

    def _receive(self) -> list[int]:
        """The descriptors that came with one byte on the channel; close-on-exec."""
        data, given, flags, _ = socket.recv_fds(self._channel, 1, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not data or flags & socket.MSG_CTRUNC:
            _close(given)
            return []
        return given

    def _read(self) -> bytes:
        try:
            return os.read(self._control, 4096)
        except ConnectionResetError:
            return b""

    def _tell(self, what: str, params: dict[str, object]) -> bool:
        """Whether the parent was there to hear it; if not, the end of file comes next."""
        try:
            write_whole(self._control, encode_notify(what, params, self._limit))
        except OSError:
            return False
        return True


def _asks(message: Message) -> bool:
    return type(message) is Notify and message.method == "fork.spawn"


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)

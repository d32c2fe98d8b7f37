"""The zygote: imports once, then forks workers on request, and tells how each of them ended.

Each spawned worker pays for the interpreter and every import again; a forked one shares them. But whatever is
copied by a fork and was meant for one process (a thread's lock, a descriptor, a random seed, half a line in a
buffer) is wrong in every copy. So a zygote does nothing but import, wait and fork.

Invariants
    1. More than one thread at a fork is a refusal that names them, unless allowed.
    2. After a fork the zygote holds nothing of the worker but its pidfd, and the worker nothing of the zygote.
    3. An ended worker's group is killed before the worker is reaped: until then its number is nobody else's.
    4. End of file on the control channel ends the zygote and all it has forked.

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

from .._wire import MessageDecoder, Notify, encode_notify
from ._after_fork import become_worker
from ._sync import write_whole
from ._threads import threads_but_main

__all__ = ["FEATURES", "Zygote"]

FEATURES = ("fork-pidfd", "fork-exit", "fork-output")
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
                for message in self._decoder.feed(data):
                    if type(message) is Notify and message.method == "fork.spawn" and self._fork():
                        return True

    def _fork(self) -> bool:
        """Answer one request; true in the new worker."""
        given = self._receive()
        try:
            refusal = self._refusal(given)
            if refusal is None:
                for stream in (sys.stdout, sys.stderr):
                    if stream is not None:
                        stream.flush()  # else every worker would write it again
                pid = os.fork()
                if pid == 0:
                    become_worker(given, self._channel.detach(), self._control, self._children)
                    return True
                self._adopt(pid)
                return False
        except OSError as error:
            refusal = f"the zygote could not fork: {error}"
        finally:
            _close(given)  # in both processes: the worker has moved them (invariant 2)
        self._tell("folk.refused", {"message": refusal})
        return False

    def _refusal(self, given: list[int]) -> str | None:
        if len(given) not in (2, 4):
            return f"{len(given)} descriptors came with the request, not 2 or 4"
        return None if self._allow_threads else threads_but_main()

    def _adopt(self, pid: int) -> None:
        """Hand a child over to the parent: its pidfd first, then its pid."""
        try:
            os.setpgid(pid, pid)  # the child does so too: whoever is first
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        socket.send_fds(self._channel, [b"\0"], [pidfd])
        self._tell("fork.spawned", {"pid": pid})

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


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)

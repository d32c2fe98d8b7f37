"""The guardian's own program: when the parent is gone, it kills every process group that it was told of.

A parent that is SIGKILLed ends nobody, and workers in most languages compute on for nobody. What outlives it must
be a process of its own. This file is the whole of it, run by path with ``-I -S``; it imports nothing of ours.

Invariants
    1. It kills only through pidfds, or a number whose owner is not reaped: never a stranger.
    2. It ends when the parent does, whatever it was told by then, and by SIGKILL; nothing else ends it.
    3. What it does not understand ends it with a traceback: the parent starts another, and tells that anew.

What does not work
    PR_SET_PDEATHSIG follows the thread that launched (prctl(2)). The socket's end of file alone: a fork of the
    parent holds a copy of it; so the parent's own pidfd is watched too.

The modules with an underscore are what ``signal`` and ``socket`` are made of: without ``enum`` it starts in half
the time. Knows descriptors. Does not know workers.
Picture: docs/design/guardian.md
"""

import _signal  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
import _socket
import os
import select
import struct
import sys

CHANNEL = 3
RECORD = struct.Struct("=QQ")  # the process's number among those told, and its pid
TOLD, GONE, PARENT = b"+", b"-", b"p"
AT_ONCE = 64  # processes in one message; SCM_RIGHTS carries up to 253 descriptors (unix(7))

_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, pidfd_send_signal(2): Linux 6.9 and later, EINVAL before
_INTS = struct.Struct("i")
_ROOM = 1 + AT_ONCE * RECORD.size
_DEAF_TO = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGPIPE", "SIGUSR1", "SIGUSR2")


class Guardian:
    """What it was told, and what it does about it.

    Args:
        channel: where the parent tells; its end of file is the parent's.
    """

    def __init__(self, channel: _socket.socket) -> None:
        self._channel = channel
        self._wards: dict[int, tuple[int, int]] = {}  # number -> pidfd, pid
        self._parents: list[int] = []
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def run(self) -> int:
        """Return when the parent is gone and its processes are killed; how many there were."""
        channel = self._channel.fileno()
        while True:
            ready = {fd for fd, _ in self._poll.poll()}
            if channel in ready:
                if not self._hear():
                    return self._kill_all()
            elif (
                ready
            ):  # the parent has ended, everything it told was heard, and somebody else holds its socket
                return self._kill_all()

    def _hear(self) -> bool:
        """Take one message; false at the end of file."""
        try:
            data, ancillary, flags, _ = self._channel.recvmsg(
                _ROOM, _socket.CMSG_SPACE(AT_ONCE * _INTS.size), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return False
        given = [fd for _, _, packed in ancillary for (fd,) in _INTS.iter_unpack(packed[: len(packed) & -4])]
        records = list(RECORD.iter_unpack(data[1:]))
        kind = data[:1]
        if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC) or (kind != GONE and len(given) != len(records)):
            raise OSError(
                f"{len(given)} descriptors came with {len(records)} processes: is RLIMIT_NOFILE too low?"
            )
        if kind == TOLD:
            for (number, pid), pidfd in zip(records, given, strict=True):
                self._wards[number] = (pidfd, pid)
        elif kind == GONE:
            for number, _ in records:
                os.close(self._wards.pop(number)[0])
        elif kind == PARENT:
            self._parents += given
            self._poll.register(given[0], select.POLLIN)
        elif data:
            raise ValueError(f"not a message: {data!r}")
        return bool(data)

    def _kill_all(self) -> int:
        for pidfd, pid in self._wards.values():
            kill(pidfd, pid)
        return len(self._wards)


def kill(pidfd: int, pid: int) -> None:
    """Kill a process and the group that it leads; whoever is gone is left alone."""
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL, None, _GROUP)
    except ProcessLookupError:
        pass  # it leads none, or none of it is left
    except OSError:
        _kill_by_number(pidfd, pid)
    try:  # noqa: SIM105  contextlib is a millisecond of its start
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)  # it may have left its group
    except OSError:
        pass


def _kill_by_number(pidfd: int, pid: int) -> None:
    try:
        _signal.pidfd_send_signal(
            pidfd, 0
        )  # not reaped, a zombie perhaps: so the number is its own (invariant 1)
        os.killpg(pid, _signal.SIGKILL)
    except OSError:
        pass


def main() -> None:
    """Be the guardian of whoever holds the other end of descriptor 3."""
    for name in _DEAF_TO:  # sent to all of a terminal or a service, they are not for it (invariant 2)
        _signal.signal(getattr(_signal, name), _signal.SIG_IGN)
    os.chdir("/")
    Guardian(_socket.socket(fileno=CHANNEL)).run()
    os._exit(0)  # nothing to flush, and it is faster


if __name__ == "__main__":
    sys.tracebacklimit = 3
    main()

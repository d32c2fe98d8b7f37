"""Which processes the guardian is to end, and what of that it was not told yet.

A guardian may be replaced, and its socket may be full. So it is not sent events as they come, but the difference
between what is and what it was told.

Invariants
    1. Telling never blocks, and never raises: what does not fit is told when there is room.
    2. Each new guardian is told of every ward, whatever its predecessor knew.
    3. A descriptor is sent only while its owner holds it: from `add` until `remove`.

Knows one socket and descriptors. Does not know who listens, nor whether anybody does.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import trio

from .guardian import AT_ONCE, GONE, PARENT, RECORD, TOLD

__all__ = ["Wards", "guarded", "wards_of_this_run"]

_current: trio.lowlevel.RunVar[Wards] = trio.lowlevel.RunVar("trio_folk wards")


class Wards:
    """The processes of one trio run that end with it, even if it is SIGKILLed.

    Attributes:
        wanted: set once there is, or is about to be, a process to guard.
        stuck: set while something waits for room in the socket: `tell` again when it is writable. Set too when
            nobody can be told any more, see `connected`.
    """

    def __init__(self) -> None:
        self.wanted = trio.Event()
        self.stuck = trio.Event()
        self._wards: dict[int, tuple[int, int]] = {}  # number -> pid, pidfd
        self._last = 0
        self._news: dict[int, None] = {}
        self._gone: dict[int, None] = {}
        self._channel: socket.socket | None = None

    def __len__(self) -> int:
        return len(self._wards)

    @property
    def connected(self) -> bool:
        """Whether a guardian is told."""
        return self._channel is not None

    def add(self, pid: int, pidfd: int) -> int:
        """Guard a process until `remove` of the number returned."""
        self.wanted.set()
        self._last += 1
        self._wards[self._last] = (pid, pidfd)
        self._news[self._last] = None
        self.tell()
        return self._last

    def remove(self, number: int) -> None:
        """It is gone, or somebody else's."""
        del self._wards[number]
        if number in self._news:
            del self._news[number]
        else:
            self._gone[number] = None
        self.tell()

    def connect(self, channel: socket.socket) -> None:
        """From now on another guardian is told, and first of all that there is; the caller owns the channel.

        Raises:
            OSError: there are no pidfds here.
        """
        me = os.pidfd_open(os.getpid())
        try:
            _send(channel, PARENT, [0], [os.getpid()], [me])
        finally:
            os.close(me)
        self._channel = channel
        self._news = dict.fromkeys(self._wards)
        self._gone.clear()
        self.tell()

    def disconnect(self) -> None:
        """Nobody is told any more."""
        self._channel = None
        self.stuck.set()

    def tell(self) -> None:
        """Tell what was not told yet, as far as there is room."""
        if self._channel is None:
            return
        try:
            self._tell(self._channel)
        except BlockingIOError:
            self.stuck.set()
        except OSError:  # it has died; or too many descriptors are under way, unix(7): another one will see
            self.disconnect()
        else:
            if self.stuck.is_set():
                self.stuck = trio.Event()

    def _tell(self, channel: socket.socket) -> None:
        while numbers := list(islice(self._news, AT_ONCE)):
            pids, pidfds = zip(*[self._wards[number] for number in numbers], strict=True)
            _send(channel, TOLD, numbers, pids, pidfds)
            for number in numbers:
                del self._news[number]
        while numbers := list(islice(self._gone, AT_ONCE)):
            _send(channel, GONE, numbers, numbers)
            for number in numbers:
                del self._gone[number]


def wards_of_this_run() -> Wards:
    """The wards of the trio run that this is called in."""
    try:
        return _current.get()
    except LookupError:
        wards = Wards()
        _current.set(wards)
        return wards


@contextmanager
@trio.lowlevel.enable_ki_protection
def guarded(pid: int, pidfd: int | None) -> Iterator[None]:
    """Guard a process for as long as the block lasts; one without a pidfd cannot be."""
    if pidfd is None:
        yield
        return
    wards = wards_of_this_run()
    number = wards.add(pid, pidfd)
    try:
        yield
    finally:
        wards.remove(number)


def _send(
    channel: socket.socket,
    kind: bytes,
    numbers: Sequence[int],
    pids: Sequence[int],
    pidfds: Sequence[int] = (),
) -> None:
    data = kind + b"".join(map(RECORD.pack, numbers, pids))
    given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", pidfds))] if pidfds else []
    channel.sendmsg([data], given, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)

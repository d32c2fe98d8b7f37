"""Record: the file that says which process a backend is, and which attempts to start it count.

Whoever finds an endpoint that does not answer must know whether its daemon is dead, starting, or has lost its path. A
pid alone does not tell: the number may be another process's by now.

Who writes it, and when, is what keeps two from writing at once:
    1. Until the daemon's program runs, and after its death, whoever holds the spawn lock.
    2. In between the daemon itself, and nobody else.
    3. Each time it is replaced whole: a reader sees the one or the other.

Knows a file. Does not know sockets, nor what the states mean to a client.
"""

from __future__ import annotations

import enum
import json
import math
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs

from .._spawn import boot_id, process_started

__all__ = ["Record", "State", "now", "read_record", "remove_record", "write_record"]

LONGEST = 64 * 1024
"""Bytes of a record that are read."""


class State(enum.Enum):
    """How far a backend is. Three of them a client can wait for: BOUND, SERVING and READY."""

    LAUNCHED = "launched"
    """Its process exists; nobody listens yet."""
    BOUND = "bound"
    """The endpoint is bound: connections succeed, and wait until somebody accepts."""
    SERVING = "serving"
    """Its `serve` runs, and its control endpoint answers."""
    READY = "ready"
    """It has said so itself."""
    DRAINING = "draining"
    """No new connections; those that are there are served."""
    ENDED = "ended"
    """There is no process; what is left of the record is the attempts."""

    @property
    def rank(self) -> int:
        """Which of two is further; what drains or has ended is nowhere."""
        return _RANKS.get(self, -1)


_RANKS = {State.LAUNCHED: 0, State.BOUND: 1, State.SERVING: 2, State.READY: 3}


def now() -> float:
    """Seconds since this boot, the same for all programs; goes on while the machine sleeps, where anything does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@attrs.frozen(kw_only=True)
class Record:
    """What is known of one backend.

    Attributes:
        service, version: what it is.
        endpoint, control: where it is.
        state: how far.
        pid: its process, or None when it has ended.
        started: when that process started, as the kernel counts; a pid with another one is a stranger's.
        boot: which boot of the machine ``started``, ``launched`` and ``attempts`` belong to.
        launched: when it was launched, in seconds since that boot.
        file: device and inode of the endpoint's file, or None for an abstract one.
        attempts: when those attempts began that count against the budget.
        idle_timeout: seconds without a connection after which it ends; inf: never.
        program: its command line.
    """

    service: str
    version: str
    endpoint: str
    control: str
    state: State
    pid: int | None = None
    started: int | None = None
    boot: str | None = attrs.field(factory=boot_id)
    launched: float = attrs.field(factory=now)
    file: tuple[int, int] | None = None
    attempts: tuple[float, ...] = ()
    idle_timeout: float = math.inf
    program: tuple[str, ...] = ()

    @property
    def spent(self) -> int:
        """How many attempts are on record."""
        return len(self.attempts)

    @property
    def lives(self) -> bool:
        """Whether its process runs, here and now; a zombie does not."""
        if self.pid is None or self.boot != boot_id():
            return False
        if self.started is not None:
            return process_started(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def is_of(self, pid: int) -> bool:
        """Whether it is that process's, of this boot."""
        return self.pid == pid and self.boot == boot_id() and self.started == process_started(pid)

    def as_json(self) -> str:
        """As it stands in the file."""
        told = attrs.asdict(self) | {"state": self.state.value, "format": 1}
        told["idle_timeout"] = None if self.idle_timeout == math.inf else self.idle_timeout
        return json.dumps(told)


def read_record(path: str) -> Record | None:
    """The record in this file; None where there is none, or one that makes no sense or is not ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return None
        return _record_from(json.loads(os.read(fd, LONGEST)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    finally:
        os.close(fd)


def _record_from(told: Mapping[str, Any]) -> Record:
    words = {name: _a(told[name], str) for name in ("service", "version", "endpoint", "control")}
    file, idle = told["file"], told["idle_timeout"]
    pid = told["pid"] if told["pid"] is None else _a(told["pid"], int)
    if pid is not None and not 0 < pid < 2**31:  # kill(2) means something else by the others
        raise ValueError(f"no process has the number {pid}")
    return Record(
        **words,
        state=State(told["state"]),
        pid=pid,
        started=told["started"] if told["started"] is None else _a(told["started"], int),
        boot=told["boot"] if told["boot"] is None else _a(told["boot"], str),
        launched=float(told["launched"]),
        file=None if file is None else (_a(file[0], int), _a(file[1], int)),
        attempts=tuple(float(each) for each in told["attempts"]),
        idle_timeout=math.inf if idle is None else float(idle),
        program=tuple(_a(word, str) for word in told["program"]),
    )


def _a(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def write_record(path: str, record: Record) -> None:
    """Replace the file by this record, at once or not at all; 0600.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    temporary = f"{path}.{os.getpid()}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of a process of this number that was killed at it
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(record.as_json())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def remove_record(path: str) -> None:
    """Remove the file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)

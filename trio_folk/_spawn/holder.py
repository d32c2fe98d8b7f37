"""Holder: the record in a lock file of who holds it. For people; nothing is decided by it.

Whoever may write the file may write anything there: it is read up to a limit, checked, stripped of what a terminal
would obey, and believed only as long as such a process lives.

Knows a record. Does not know locks.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time

import attrs

__all__ = ["Holder", "boot_id", "process_started", "read_holder", "write_holder"]

LONGEST = 4096
"""Bytes of a record that are read."""
PROGRAM_SHOWN = 200
"""Characters of a program's name that are kept."""


@attrs.frozen
class Holder:
    """Who holds a lock.

    Attributes:
        pid: its process.
        since: when it got the lock, in seconds since 1970.
        program: its command line, shortened.
        started: when its process started, as the kernel counts, or None where nobody says; with `boot` it tells a
            process from a later one of the same number.
        boot: which boot of the machine that was.
    """

    pid: int
    since: float
    program: str
    started: int | None = None
    boot: str | None = None

    @classmethod
    def me(cls) -> Holder:
        """This process, now."""
        pid = os.getpid()
        program = " ".join([os.path.basename(sys.executable or "python"), *sys.argv])
        return cls(pid, time.time(), _printable(program), process_started(pid), boot_id())

    def __str__(self) -> str:
        # The wall clock may have been set back since.
        seconds = max(0.0, time.time() - self.since)
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"pid {self.pid} ({self.program}) since {when}, for {seconds:.3g} s"

    def lives(self) -> bool:
        """Whether such a process runs here, as far as anybody can tell."""
        if self.started is None:
            return True
        return self.boot == boot_id() and self.started == process_started(self.pid)


def write_holder(fd: int) -> None:
    """Write down that this process holds it.

    Raises:
        OSError: it cannot be written.
    """
    record = json.dumps(attrs.asdict(Holder.me())).encode()
    os.pwrite(fd, record, 0)
    os.ftruncate(fd, len(record))


def read_holder(fd: int) -> Holder | None:
    """Who says that it holds it; None if nobody does, if it makes no sense, or if there is no such process."""
    try:
        record = json.loads(os.pread(fd, LONGEST, 0))
    except (OSError, ValueError, RecursionError):
        return None
    match record:
        case {"pid": int(pid), "since": int() | float() as since, "program": str(program), **rest}:
            started, boot = rest.get("started"), rest.get("boot")
        case _:
            return None
    # Beyond the year 9999 gmtime fails; pid_t has 31 bits.
    if isinstance(pid, bool) or not 0 < pid < 2**31 or not 0 <= since < 253e9 or not math.isfinite(since):
        return None
    if not isinstance(started, int | None) or not isinstance(boot, str | None):
        return None
    holder = Holder(pid, float(since), _printable(program), started, boot)
    return holder if holder.lives() else None


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:PROGRAM_SHOWN])


def process_started(pid: int) -> int | None:
    """When a process started, as the kernel counts; None if it has ended, a zombie too, or where nobody says."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # proc_pid_stat(5): the second field is a name in brackets that may itself hold brackets and blanks
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str | None:
    """Which boot of the machine this is, or None where nobody says."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return None

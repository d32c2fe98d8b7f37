"""What processes take of the machine: memory, processor time, wake-ups; read from /proc.

Knows process ids. Does not know whose they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs


@attrs.frozen
class Usage:
    """So far, all threads: processor time in seconds, and how often one went to sleep of itself and so was woken."""

    seconds: float
    sleeps: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.seconds + other.seconds, self.sleeps + other.sleeps)

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.seconds - before.seconds, self.sleeps - before.sleeps)


def usage(pids: Iterable[int]) -> Usage:
    """The sum over these processes."""
    threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return Usage(sum(map(_ran, threads)), sum(map(_slept, threads)))


def descendants(pid: int) -> Iterator[int]:
    """All processes below this one."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            yield child
            yield from descendants(child)


def pss(pid: int) -> float:
    """Its share of memory in MB: each page divided by the processes that have it (proc_pid_smaps(5))."""
    return _number_in(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") * 1024 / 1e6


def rss() -> float:
    """What this process holds of memory, in MB."""
    return _number_in(Path("/proc/self/status"), "VmRSS:") * 1024 / 1e6


def alive(pids: Iterable[int]) -> int:
    """How many of them are there still, be it as zombies."""
    return sum(os.path.exists(f"/proc/{pid}") for pid in pids)


def _ran(thread: Path) -> float:
    return int((thread / "schedstat").read_text().split()[0]) / 1e9


def _slept(thread: Path) -> int:
    return _number_in(thread / "status", "voluntary_ctxt_switches:")


def _number_in(file: Path, field: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel does not tell {field[:-1]} in {file}")

"""Rendezvous: how the parent learns that a job is running in a worker, whoever's worker it is.

A benchmark that sleeps "until the job must have started" measures its own sleep. The job writes its
pid into a named pipe instead, and may wait at a second one until the parent lets it go. Named pipes,
because they need no import in the worker and nothing of the pool between.

Knows two named pipes in a temporary directory. Does not know pools, nor what is measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

_RECORD = 10  # bytes: one pid, padded; jobs.py writes it


class Rendezvous:
    """Who has arrived, and the gate that holds them; made by `open_rendezvous`."""

    def __init__(self, directory: str, bell: int, gate: int) -> None:
        self.directory = directory
        self._bell = bell
        self._gate = gate

    async def arrivals(self, count: int) -> set[int]:
        """Wait until so many different processes have told their pid, and return those."""
        pids: set[int] = set()
        while len(pids) < count:
            await trio.lowlevel.wait_readable(self._bell)
            told = os.read(self._bell, _RECORD)
            pids.add(int(told))
        return pids

    def let_go(self, count: int) -> None:
        """Open the gate for so many jobs."""
        os.write(self._gate, b"." * count)


@contextmanager
def open_rendezvous() -> Iterator[Rendezvous]:
    """Make the pipes, and remove them afterwards."""
    with tempfile.TemporaryDirectory(prefix="folk-bench-") as directory:
        bell = gate = -1
        try:
            # O_RDWR: neither this open nor the jobs' may wait for the other end (fifo(7))
            for name in ("bell", "gate"):
                os.mkfifo(Path(directory, name))
            bell = os.open(Path(directory, "bell"), os.O_RDWR | os.O_NONBLOCK)
            gate = os.open(Path(directory, "gate"), os.O_RDWR)
            yield Rendezvous(directory, bell, gate)
        finally:
            for descriptor in (bell, gate):
                if descriptor >= 0:
                    os.close(descriptor)

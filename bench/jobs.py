"""The functions that the benchmarks run in workers, importable by every peer as ``bench.jobs``.

Knows os and time. Imports nothing more: what it imports, every peer's worker would pay for at boot.
"""

from __future__ import annotations

import os
import time

SHORT = 50_000  # nanoseconds that a short call takes
LONG = 0.2  # seconds that a long one does
NAP = 0.02  # seconds; long enough to be killed in, short enough to wait for ten of them


def echo(payload: bytes) -> bytes:
    """Give back what came."""
    return payload


def pid() -> int:
    """Say which process runs this."""
    return os.getpid()


def arrive(directory: str) -> int:
    """Tell the `Rendezvous` who is here, and hold this worker until it lets go."""
    _tell(directory)
    gate = os.open(os.path.join(directory, "gate"), os.O_RDONLY)
    try:
        os.read(gate, 1)
    finally:
        os.close(gate)
    return os.getpid()


def spin(directory: str) -> None:
    """Tell the `Rendezvous` who is here, and never return: pure Python that only a signal stops."""
    _tell(directory)
    while True:
        pass


def nap(directory: str) -> int:
    """Tell the `Rendezvous` who is here, and return a moment later."""
    _tell(directory)
    time.sleep(NAP)
    return os.getpid()


def short_call() -> tuple[int, int, int]:
    """Work for 50 us; who did, from when to when, by a clock that all processes of a machine share."""
    began = time.perf_counter_ns()
    while (now := time.perf_counter_ns()) < began + SHORT:
        pass
    return os.getpid(), began, now


def long_call() -> tuple[int, int, int]:
    """The same, asleep for 200 ms."""
    began = time.perf_counter_ns()
    time.sleep(LONG)
    return os.getpid(), began, time.perf_counter_ns()


def _tell(directory: str) -> None:
    bell = os.open(os.path.join(directory, "bell"), os.O_WRONLY)
    try:
        os.write(bell, b"%10d" % os.getpid())  # below PIPE_BUF, so whole: pipe(7)
    finally:
        os.close(bell)

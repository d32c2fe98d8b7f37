"""What tests of maps have done in workers: items that die, wait, or write down that they ran."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

BAD = 25


def note(trace: str, number: int) -> int:
    """Write down that it ran: appended whole, for it is short."""
    with open(trace, "a") as file:
        file.write(f"{number}\n")
    return number


def note_or_die(trace: str, number: int) -> int:
    """Kill this worker at the bad item."""
    note(trace, number)
    if number == BAD:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(trace: str, number: int) -> int:
    """Kill this worker at the bad item, the first time."""
    if number == BAD and not os.path.exists(trace):
        Path(trace).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def lock_at_the_bad(number: int) -> object:
    """A result that no pickle has."""
    return threading.Lock() if number == BAD else number


def fail_at_the_bad(number: int) -> int:
    """An error of its own."""
    if number == BAD:
        raise LookupError("this one")
    return number


def nap(trace: str, number: int) -> int:
    """A millisecond; the first writes down that it began."""
    if not number:
        Path(trace).touch()
    time.sleep(0.001)
    return number


def wait_at(gate: str, bad: int, number: int) -> int:
    """Hold this worker at one item, until a file is there."""
    while number == bad and not os.path.exists(gate):
        time.sleep(0.005)
    return number


def slow_from(first: int, number: int) -> int:
    """Tiny at first, then slow; who did it."""
    if number >= first:
        time.sleep(0.02)
    return os.getpid()


def interval(_: bytes) -> tuple[float, float]:
    """When it ran; the clock is the machine's."""
    began = time.monotonic()
    time.sleep(0.01)
    return began, time.monotonic()

"""What tests of pipelining have done in workers; each says that it ran, in a file that all share."""

from __future__ import annotations

import ctypes
import os
import signal
import time


def note(path: str, text: str) -> None:
    """A line of its own, whoever else writes."""
    with open(path, "a") as file:
        file.write(f"{text}\n")


def run(path: str, name: str, seconds: float = 0.0) -> str:
    """Say that it ran, and take its time."""
    note(path, name)
    if seconds:
        time.sleep(seconds)
    return name


def die(path: str, name: str) -> None:
    """Say that it ran, and die of it."""
    note(path, name)
    os.kill(os.getpid(), signal.SIGKILL)


def hold_the_interpreter(path: str, name: str, milliseconds: int) -> str:
    """C code that never gives up the interpreter's lock: no other thread of the worker runs."""
    note(path, name)
    ctypes.PyDLL(None).usleep(milliseconds * 1000)
    return name


def pid() -> int:
    """Whose."""
    return os.getpid()

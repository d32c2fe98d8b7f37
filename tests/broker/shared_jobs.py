"""What the workers of a shared pool do in tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

from trio_folk.worker import CallCancelled, Worker, current_call

worker = Worker()


@worker.method
def pid() -> int:
    return os.getpid()


@worker.method
def parent() -> int:
    """The daemon's pid."""
    return os.getppid()


@worker.method
def add(left: int, right: int) -> int:
    return left + right


@worker.method
def fail(message: str) -> None:
    raise ValueError(message)


@worker.method
def die() -> None:
    os._exit(3)


@worker.method
def remaining() -> float:
    return current_call().remaining()


@worker.method
def steps(trace: str) -> None:
    """Loop until it is cancelled; say so in a file."""
    Path(trace).write_text("began")
    try:
        while True:
            current_call().checkpoint()
            time.sleep(0.001)
    except CallCancelled:
        Path(trace).write_text("cleaned up")
        raise


@worker.method
def note(folder: str, name: str, seconds: float) -> int:
    """Leave a file while it runs and another when it has; how many ran at once."""
    running = Path(folder) / f"running {name}"
    running.touch()
    at_once = sum(each.name.startswith("running") for each in Path(folder).iterdir())
    time.sleep(seconds)
    running.unlink()
    (Path(folder) / f"ran {name} {time.monotonic_ns()}").touch()
    return at_once


def shout(text: str) -> str:
    return text.upper()


def refuse(text: str) -> None:
    raise LookupError(text)

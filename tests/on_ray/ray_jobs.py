"""What the tests of Ray run in workers."""

from __future__ import annotations

import os
import time
from typing import Any

from trio_folk.worker import Worker, current_call

worker = Worker()


@worker.method
def nap(seconds: float) -> int:
    """Holds its worker; the process it ran in."""
    time.sleep(seconds)
    return os.getpid()


def pid() -> int:
    """The process it runs in."""
    return os.getpid()


def variable(name: str) -> str | None:
    """A variable of the environment."""
    return os.environ.get(name)


@worker.method
def listen(seconds: float) -> str:
    """Runs until it is cancelled, which it looks for."""
    call = current_call()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        call.checkpoint()
        time.sleep(0.005)
    return "nobody cancelled it"


def doubled(array: Any) -> Any:
    """Twice an array, and whether it could have been changed."""
    return array * 2, array.flags.writeable

"""What the tests of Ray run in workers."""

from __future__ import annotations

import os
import time

from trio_folk.worker import Worker

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

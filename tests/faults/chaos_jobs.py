"""What the chaos tests run in workers."""

from __future__ import annotations

import os
import subprocess
import time


def tell(number: int) -> int:
    """Its argument, after a moment."""
    time.sleep(0.001)
    return number


def slow(seconds: float) -> float:
    """Holds its worker."""
    time.sleep(seconds)
    return seconds


def spin_with_a_child(path: str) -> None:
    """Starts a child, tells both pids, and never returns nor lets go of the interpreter for long."""
    child = subprocess.Popen(["sleep", "300"])
    part = f"{path}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(f"{os.getpid()} {child.pid}\n")
    os.rename(part, f"{path}/{os.getpid()}")
    while True:
        pass

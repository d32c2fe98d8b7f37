"""What the workers of `orphans_parent` run: the worst that Python code can do to those who would end it."""

from __future__ import annotations

import os
import re
import subprocess


def hold_the_interpreter(directory: str) -> None:
    """Start a child, tell both pids, then compute in C, so that no thread of this process runs any more."""
    child = subprocess.Popen(["sleep", "300"])
    part = f"{directory}/.{os.getpid()}"
    with open(part, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(part, f"{directory}/{os.getpid()}")
    re.match(r"(a+)+b", "a" * 100)

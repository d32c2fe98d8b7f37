"""What the workers of `test_runtimes_pidns` run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

_held: list[bytearray] = []


def escape(seconds: str) -> tuple[int, int]:
    """Start a child that has left this group and sleeps so long; this process's pid, and its group as it sees them."""
    subprocess.Popen(["sleep", seconds], start_new_session=True)
    return os.getpid(), os.getpgrp()


def escape_and_compute(seconds: str) -> None:
    """The same, and never return."""
    escape(seconds)
    while True:
        pass


def hold(mebibytes: int) -> None:
    """Need so much memory from now on."""
    _held.append(bytearray(os.urandom(1024) * 1024 * mebibytes))


def clean_up_when_told(started: str, cleaned: str) -> None:
    """Say that it has started; when SIGTERM comes, take a moment to clean up."""

    def clean_up(number: int, frame: FrameType | None) -> None:
        time.sleep(0.3)
        Path(cleaned).write_text("cleaned")
        os._exit(7)

    signal.signal(signal.SIGTERM, clean_up)
    Path(started).write_text("started")
    while True:
        time.sleep(3600)


def die_of(number: int) -> None:
    """End by this signal."""
    os.kill(os.getpid(), number)
    time.sleep(60)

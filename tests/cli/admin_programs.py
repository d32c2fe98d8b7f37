"""Programs with a pool that is administered, for the tests of ``trio-folk admin`` and ``trio-folk top``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(__file__).with_name("served_program.py")
BOUND = 60.0  # seconds; each step takes less than three


@contextmanager
def program(command, socket: Path, slots: int = 3) -> Iterator[subprocess.Popen[str]]:
    """One that serves there; it is asked to end, and ends, at the end of the block."""
    words = [sys.executable, str(PROGRAM), str(socket), str(slots)]
    with subprocess.Popen(words, env=command.env, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == f"{socket}\n"
            yield running
        finally:
            running.terminate()
            try:
                running.wait(BOUND)
            finally:
                running.kill()

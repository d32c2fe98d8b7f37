"""The echo daemon: two programs, one daemon, as its page says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 60  # seconds; each of these takes less than two


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory for the daemon, which is killed afterwards."""
    where = tmp_path / "run"
    yield where
    record = where / "echo.json"
    if record.exists() and (pid := json.loads(record.read_text())["pid"]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + BOUND
            while time.monotonic() < end:
                os.kill(pid, 0)
                time.sleep(0.01)


def client(folder: Path, *words: str) -> list[str]:
    """What ``python -m examples.echo_daemon.client`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.echo_daemon.client", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRIO_FOLK_DIRECTORY": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=BOUND,
        check=True,
    )
    return done.stdout.splitlines()


def test_two_programs_share_the_daemon(folder: Path) -> None:
    """Each line comes from the same process, whichever program asked."""
    lines = client(folder, "hello") + client(folder, "again", "and again")
    assert [re.sub(r"\d+", "N", line) for line in lines] == [
        "daemon N says hello",
        "daemon N says again",
        "daemon N says and again",
    ]
    assert len({line.split()[1] for line in lines}) == 1

"""The shared pool: two programs, one daemon with its workers, as its page says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 60  # seconds; each of these takes less than three


def daemon_of(folder: Path) -> int | None:
    """The daemon's pid, by its record."""
    record = folder / "words.json"
    return json.loads(record.read_text())["pid"] if record.exists() else None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory for the daemon, which is killed afterwards; its workers go with it."""
    where = tmp_path / "run"
    yield where
    if pid := daemon_of(where):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + BOUND
            while time.monotonic() < end:
                os.kill(pid, 0)
                time.sleep(0.01)


def client(folder: Path, *words: str) -> str:
    """What ``python -m examples.shared_backend.client`` prints."""
    return subprocess.run(
        [sys.executable, "-m", "examples.shared_backend.client", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRIO_FOLK_DIRECTORY": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=BOUND,
        check=True,
    ).stdout


def test_two_programs_share_the_workers(folder: Path, tmp_path: Path) -> None:
    """Each is answered, by the pool of the same daemon."""
    text = ROOT / "LICENSE.MIT"
    assert client(folder, text.name) == f"{text.name}: 'the'\n"
    first = daemon_of(folder)
    assert client(folder, text.name, text.name) == f"{text.name}: 'the'\n"
    assert daemon_of(folder) == first

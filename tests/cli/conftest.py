"""What the tests of the command line stand on: a directory with a module to map, and the command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[2]
BOUND = 60.0  # seconds; each of these takes less than three

JOBS = '''
import os, signal, sys, time
from pathlib import Path
from trio_folk.worker import Worker

worker = Worker()

@worker.method
def shrink(path, width=64):
    return [path, width]

@worker.method
async def shout(text):
    return text.upper()

async def nap(text):
    import trio
    await trio.sleep(0)
    return text

def double(text):
    return 2 * text

def odd(text):
    return {"bytes": b"\\x00\\xff", "set": {1}, "nan": float("nan"), "list": [1, None]}[text]

def fail(text):
    if text.startswith("bad"):
        raise ValueError(f"it is {text}")
    return text

def leave(text):
    sys.exit(3)

def die(text):
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return text

def hang(text):
    if text == "hang":
        time.sleep(600)
    return text

def second_time(text):
    """Fails for each text at first."""
    mark = Path(f"tried-{text}")
    if mark.exists():
        return text
    mark.touch()
    raise RuntimeError("not yet")

def gated(text):
    """Says that it began, then waits until it may go on."""
    Path(f"began-{text}").write_text(str(os.getpid()))
    while not Path("go").exists():
        time.sleep(0.01)
    return text

def late_first(text):
    """The first of the items ends last."""
    if text == "0":
        while not Path("last").exists():
            time.sleep(0.01)
    if text == "3":
        Path("last").touch()
    return int(text)

def chatter(text):
    print("said", text)
    print("cried", text, file=sys.stderr)
    return text

def pid(text):
    return os.getpid()
'''


@attrs.frozen
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output, understood."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def results(self) -> list[Any]:
        """The results in the order of the lines; an item without one is missing."""
        return [line["result"] for line in self.lines if "result" in line]


class Command:
    """``python -m trio_folk`` in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        self.argv = [sys.executable, "-m", "trio_folk"]

    def __call__(self, *words: str, stdin: str = "") -> Done:
        done = subprocess.run(
            [*self.argv, *words],
            input=stdin,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; it is killed at the end if it still does."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(
            [*self.argv, *words], cwd=self.folder, env=self.env, text=True, **(streams | options)
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command, where ``jobs.py`` is."""
    (tmp_path / "jobs.py").write_text(JOBS)
    return Command(tmp_path)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until something has come true, within the bound."""

    def wait(true: Callable[[], bool]) -> None:
        end = time.monotonic() + BOUND
        while not true():
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.01)

    return wait

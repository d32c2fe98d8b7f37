"""``trio-folk top`` in a real terminal: what it shows, its keys, other sizes, and programs that go and come.

The terminal is tmux's, on a socket of its own; its server is ended by the test that began it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from admin_programs import BOUND, program

needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="a terminal to drive: apt-get install tmux"
)


class Terminal:
    """A terminal in which a command runs, and then says its status and whether the terminal is as it was."""

    def __init__(self, folder: Path, words: list[str], env: dict[str, str], width: int, height: int) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "TMUX")}
        script = (
            f"trap : INT; {shlex.join(words)}; echo ended $?; stty -a | grep -o '.icanon'; exec sleep 600"
        )
        self.do("new-session", "-d", "-x", str(width), "-y", str(height), "exec sh -c " + shlex.quote(script))

    def do(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._env, capture_output=True, text=True, timeout=BOUND, check=True
        )
        return done.stdout

    @property
    def shown(self) -> str:
        return self.do("capture-pane", "-p")

    def wait_for(self, true: Callable[[str], bool]) -> str:
        """What is shown once this holds of it."""
        end = time.monotonic() + BOUND
        while not true(shown := self.shown):
            assert time.monotonic() < end, f"it did not come to be shown:\n{shown}"
            time.sleep(0.05)
        return shown


@contextmanager
def terminal(command, folder: Path, *words: str, width: int = 100, height: int = 24) -> Iterator[Terminal]:
    made = Terminal(folder, [*command.argv, *words], command.env, width, height)
    pid = int(made.do("display-message", "-p", "#{pid}"))
    try:
        yield made
    finally:
        made.do("kill-server")
        end = time.monotonic() + BOUND
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.01)


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory whose name is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="folk-top-") as made:
        yield Path(made)


@needs_tmux
def test_pools_are_watched_in_a_terminal(command, sockets) -> None:
    """Slots, rates, deaths; a narrow terminal; the program goes, and another comes; q ends it, and all is as it was."""
    command.env["TRIO_FOLK_DIRECTORY"] = str(sockets)
    with terminal(command, sockets, "top", "--interval", "0.2") as seen:
        seen.wait_for(lambda text: "no program serves a pool here" in text)
        with program(command, sockets / "thumbs.admin") as running:
            shown = seen.wait_for(lambda text: "▇" in text or "█" in text)
            assert f"thumbs  pid {running.pid}  open  3 of 3 ready" in shown
            for word in (
                "rate ",
                "latency ",
                "slot state",
                "pid gen",
                "jobs",
                "memory last end",
                "MiB",
                "/s",
            ):
                assert word in shown, shown
            [victim] = [int(line.split()[2]) for line in shown.splitlines() if line.startswith("   1 ")]
            os.kill(victim, signal.SIGKILL)
            shown = seen.wait_for(lambda text: "killed by SIGKILL" in text)
            assert "deaths 1" in shown

            seen.do("resize-window", "-x", "60", "-y", "20")
            shown = seen.wait_for(lambda text: "pid gen" not in text and "3 of 3 ready" in text)
            assert max(len(line) for line in shown.splitlines()) <= 60
            assert sum(line.startswith(("   0 ", "   1 ", "   2 ")) for line in shown.splitlines()) == 3
            for word in ("rate", "memory", "killed"):
                assert word in shown, shown
        seen.wait_for(lambda text: "it has gone; waiting for it" in text)
        with program(command, sockets / "thumbs.admin", slots=2) as running:
            seen.wait_for(lambda text: f"pid {running.pid}  open  2 of 2 ready" in text)
            seen.do("send-keys", "x", "q")
            shown = seen.wait_for(lambda text: "icanon" in text)
            assert "ended 0" in shown
            assert "-icanon" not in shown
            assert "thumbs" not in shown, "what was on the terminal before is there again"


@needs_tmux
def test_ctrl_c_ends_it(command, sockets) -> None:
    """With the status of that, and without a traceback."""
    command.env["TRIO_FOLK_DIRECTORY"] = str(sockets)
    with terminal(command, sockets, "top") as seen:
        seen.wait_for(lambda text: "no program serves a pool here" in text)
        seen.do("send-keys", "C-c")
        shown = seen.wait_for(lambda text: "icanon" in text)
        assert "ended 130" in shown
        assert "Traceback" not in shown
        assert "-icanon" not in shown


def test_one_table_is_printed_without_a_terminal(command, sockets) -> None:
    """With --once; where nobody is there, it says so with status 1; and without it, what is missing is named."""
    pytest.importorskip("rich", reason="pip install 'trio-folk[cli]'")
    command.env |= {"TRIO_FOLK_DIRECTORY": str(sockets), "COLUMNS": "80"}
    nobody = command("top", "--once", "--interval", "0.1")
    assert nobody.status == 1
    assert "no program serves a pool here" in nobody.out
    with program(command, sockets / "a.admin", slots=1):
        done = command("top", "--once", "--interval", "0.2", "--socket", str(sockets / "a.admin"))
        assert done.status == 0, done.err
        assert "thumbs" in done.out
        assert "   0 " in done.out
    gone = command("top", "--once", "--socket", str(sockets / "a.admin"))
    assert gone.status == 1
    assert "nobody answers" in gone.out
    piped = command("top")
    assert piped.status == 2
    assert "it needs a terminal" in piped.err


def test_without_rich_it_says_what_to_install(command) -> None:
    """And nothing else happens."""
    hidden = command.folder / "hidden"
    hidden.mkdir()
    (hidden / "rich.py").write_text("raise ImportError('hidden')\n")
    command.env["PYTHONPATH"] = f"{hidden}{os.pathsep}{command.env['PYTHONPATH']}"
    done = command("top", "--once")
    assert done.status == 2
    assert "pip install 'trio-folk[cli]'" in done.err


@pytest.mark.parametrize("interval", ["0", "x", "nan", "3601"])
def test_interval_that_makes_no_sense_is_refused(command, interval) -> None:
    """By argparse, with status 2."""
    done = command("top", "--interval", interval)
    assert done.status == 2
    assert "0.1 to 3600" in done.err

"""What a terminal shows: a bar with rich, a counter without, and nothing where nobody watches."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

BAR = "━"


def watched(command, *words: str, stdout: bool = False) -> tuple[str, str, int]:
    """Run it with standard error, and perhaps standard output, on a terminal; what both got, and the status."""
    master, slave = pty.openpty()
    try:
        out = slave if stdout else subprocess.PIPE
        env = command.env | {"TERM": "xterm-256color"}
        with subprocess.Popen(
            [*command.argv, *words],
            cwd=command.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=slave,
        ) as process:
            os.close(slave)
            slave = -1
            seen = read_to_end(master)
            written = process.stdout.read().decode() if process.stdout else ""
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)
    return seen, written, process.returncode


def read_to_end(master: int) -> str:
    """Until nobody holds the other side, which Linux tells by an error."""
    seen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            return seen.decode()
        if not data:
            return seen.decode()
        seen += data


@pytest.fixture
def without_rich(command) -> None:
    """Hide rich from the command."""
    hidden = command.folder / "hidden"
    hidden.mkdir()
    (hidden / "rich.py").write_text("raise ImportError('hidden')\n")
    command.env["PYTHONPATH"] = f"{hidden}{os.pathsep}{command.env['PYTHONPATH']}"


def test_bar_shows_count_rate_and_failures(command) -> None:
    """On a terminal with rich; the results on standard output are not touched by it."""
    pytest.importorskip("rich", reason="pip install 'trio-folk[cli]'")
    seen, written, status = watched(command, "map", "jobs:fail", "a", "bad", "--ordered")
    assert BAR in seen
    assert "2/2" in seen
    assert "/s" in seen
    assert "1 failed" in seen
    assert 'failed "bad": ValueError' in seen
    assert written.startswith('{"item": "a", "result": "a"}\n')
    assert status == 1


@pytest.mark.usefixtures("without_rich")
def test_counter_stands_in_for_the_bar(command) -> None:
    """Without rich the same numbers are one line, cleared at the end."""
    seen, written, _ = watched(command, "map", "jobs:second_time", "a", "--retries", "1")
    assert BAR not in seen
    assert "0/1 items" in seen
    assert "\x1b[2K" in seen
    assert "1 done, 0 failed, 1 retried" in seen
    assert written == '{"item": "a", "result": "a", "attempts": 2}\n'


@pytest.mark.parametrize("rich", [True, False])
def test_results_on_the_same_terminal_stand_above_the_progress(command, request, rich) -> None:
    """Each result is a whole line of its own."""
    if rich:
        pytest.importorskip("rich", reason="pip install 'trio-folk[cli]'")
    else:
        request.getfixturevalue("without_rich")
    seen, _, _ = watched(command, "map", "jobs:double", "[red]a", "b", stdout=True)
    assert '{"item": "[red]a", "result": "[red]a[red]a"}\r\n' in seen
    assert '{"item": "b", "result": "bb"}\r\n' in seen


def test_nothing_moves_where_nobody_watches(command) -> None:
    """Into a file or a pipe no progress is written, nor anything at all while all goes well."""
    assert command("map", "jobs:double", "a", "b").err == ""


def test_quiet_terminal_stays_dark(command) -> None:
    """--quiet means no progress either."""
    assert watched(command, "map", "jobs:double", "a", "--quiet")[0] == ""

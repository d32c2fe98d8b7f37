"""How a map ends before its time: Ctrl-C once and twice, SIGTERM, a reader that has had enough, no more workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def wait_for_line(stream, text: str) -> str:
    """Read lines until one holds the text."""
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"no line with {text!r}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def began(folder: Path, *names: str) -> bool:
    return all((folder / f"began-{name}").exists() for name in names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_lets_running_items_end_and_names_the_rest(command, until, number) -> None:
    """The running items have results; the others never begin, and are counted and named."""
    items = [str(each) for each in range(14)]
    with command.start("map", "jobs:gated", "--workers", "2", *items) as process:
        until(lambda: began(command.folder, "0", "1"))
        process.send_signal(number)
        wait_for_line(process.stderr, "interrupted")
        (command.folder / "go").touch()
        out, err = process.communicate()
    assert sorted(out.splitlines()) == [f'{{"item": "{each}", "result": "{each}"}}' for each in (0, 1)]
    assert "not done: 12 of 14 items" in err
    assert '"2"\n' in err
    assert "... and 2 more" in err
    assert "2 done, 0 failed" in err
    assert process.returncode == 128 + number
    assert not (command.folder / "began-2").exists()


def test_second_signal_ends_at_once(command, until) -> None:
    """The running items are ended with their workers, and counted as not done."""
    with command.start("map", "jobs:gated", "a", "b", "--workers", "2") as process:
        until(lambda: began(command.folder, "a", "b"))
        process.send_signal(signal.SIGINT)
        wait_for_line(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (out, process.returncode) == ("", 130)
    assert "not done: 2 of 2 items" in err
    pids = [int((command.folder / f"began-{name}").read_text() or 0) for name in "ab"]
    until(lambda: not any(alive(pid) for pid in pids))


def test_drain_is_bounded(command, until) -> None:
    """Items that do not end are ended after the bound, without a second signal."""
    command.argv = [
        sys.executable,
        "-c",
        "import sys, trio_folk._cli.map as it; it.DRAIN = 0.2; from trio_folk._cli import main; sys.exit(main())",
    ]
    with command.start("map", "jobs:gated", "a") as process:
        until(lambda: began(command.folder, "a"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert "not done: 1 of 1 items" in err
    assert process.returncode == 130


def test_signal_ends_a_map_that_waits_for_input(command) -> None:
    """Nothing keeps it while no line comes."""
    with command.start("map", "jobs:double") as process:
        process.stdin.write("a\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "and what was not read of standard input" in process.stderr.read()


def test_signal_ends_a_map_whose_pool_is_not_there_yet(command, until) -> None:
    """A target that never stops importing does not keep it."""
    (command.folder / "never.py").write_text(
        "import time\nfrom pathlib import Path\nPath('began-import').touch()\ntime.sleep(600)\n"
    )
    with command.start("map", "never:f", "a") as process:
        until(lambda: began(command.folder, "import"))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_results_behind_an_unfinished_item_are_not_lost(command, until) -> None:
    """Ordered results that waited for their turn are written when the run is cut short."""
    (command.folder / "hold.py").write_text(
        "import jobs\nfrom pathlib import Path\n\n"
        "def f(x):\n    if x == '0': return jobs.gated(x)\n    Path('ended-' + x).touch()\n    return x\n"
    )
    with command.start("map", "hold:f", "0", "1", "2", "--ordered", "--workers", "2") as process:
        until(lambda: all((command.folder / f"ended-{name}").exists() for name in "12"))
        process.send_signal(signal.SIGINT)
        wait_for_line(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert '{"item": "1", "result": "1"}\n' in out
    assert '"0"' in err


def test_reader_that_has_had_enough_ends_it_quietly(command) -> None:
    """Endless input, three lines read: it ends as ``cat`` would, without a word and without reading on."""
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        try:
            with command.start("map", "jobs:double", stdin=endless.stdout) as process:
                lines = [process.stdout.readline() for _ in range(3)]
                process.stdout.close()
                assert process.wait() == 141
                assert process.stderr.read() == ""
        finally:
            endless.kill()
            endless.stdout.close()
    assert lines == ['{"item": "y", "result": "yy"}\n'] * 3


def test_map_stops_when_no_worker_comes_to_life_any_more(command) -> None:
    """A target that breaks while it is mapped fails what ran, and does not fail the rest unseen."""
    (command.folder / "breaks.py").write_text(
        "import os\nfrom pathlib import Path\nif Path('broken').exists(): os._exit(4)\n\n"
        "def f(x):\n    Path('broken').touch()\n    os._exit(5)\n"
    )
    done = command("map", "breaks:f", "a", "b", "c", "--workers", "1", "--ordered")
    assert done.lines[0]["error"]["exit_code"] == 5
    assert len(done.lines) == 1
    assert "not done: 2 of 3 items" in done.err
    assert "exited with status 4" in done.err
    assert done.status == 1


def test_standard_input_that_cannot_be_read_is_told(command) -> None:
    """A closed standard input is no empty input."""
    with command.start("map", "jobs:double", stdin=None, preexec_fn=lambda: os.close(0)) as process:
        _, err = process.communicate()
    assert "standard input cannot be read" in err
    assert process.returncode == 2

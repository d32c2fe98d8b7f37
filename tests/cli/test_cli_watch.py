"""``trio-folk map --watch``: again with new code whenever it is saved, never with broken code, until Ctrl-C.

The command ends first, by a signal; files are saved only after it has said that it watches, or where the test is about
a change that comes before that.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess

import pytest
import trio

from trio_folk._cli.items import Kept, Lines

pytest.importorskip("watchfiles", reason='pip install "trio-folk[watch]"')

WATCHING = "watching"


def wait_for(stream, text: str) -> str:
    """Read lines until one holds the text; all of them."""
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"no line with {text!r} in {seen!r}")


def read(process, lines: int) -> list[str]:
    """So many lines of standard output, in the order of their items."""
    return sorted(process.stdout.readline() for _ in range(lines))


def interrupt(process) -> str:
    """Ctrl-C; what it said since."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert out == ""
    assert process.returncode == 130
    return err


@pytest.fixture
def code(command):
    """Save ``mine.py`` with a function whose result is this expression of ``x``."""

    def save(expression: str) -> None:
        (command.folder / "mine.py").write_text(f"def f(x):\n    return {expression}\n")

    save("x")
    return save


def test_items_are_mapped_again_with_what_was_saved(command, code) -> None:
    """Each save is a pass of its own; Ctrl-C between two ends it without another word."""
    with command.start("map", "mine:f", "a", "b", "--watch") as process:
        assert read(process, 2) == [f'{{"item": "{x}", "result": "{x}"}}\n' for x in "ab"]
        assert wait_for(process.stderr, WATCHING) == "watching mine.py; Ctrl-C ends\n"
        for times in (2, 3, 4):
            code(f"{times} * x")
            assert read(process, 2) == [f'{{"item": "{x}", "result": "{x * times}"}}\n' for x in "ab"]
            assert wait_for(process.stderr, WATCHING).startswith("mine.py changed\n")
        assert interrupt(process) == ""


BROKEN = {
    "def f(x):\n    return (\n": ["SyntaxError", "    return (\n", "could not be imported"],
    "1 / 0\n": ['mine.py", line 1', "ZeroDivisionError", "could not be imported"],
    "def g(x): return x\n": ["has no attribute 'f'"],
    "import os; os._exit(7)\n": ["exited with status 7", "during boot"],
}


@pytest.mark.parametrize(("text", "told"), BROKEN.items(), ids=["syntax", "import", "no function", "death"])
def test_broken_code_is_told_and_not_used(command, code, text, told) -> None:
    """Nothing is mapped with it; once it is mended, it is."""
    with command.start("map", "mine:f", "a", "--watch", "--workers", "2") as process:
        assert read(process, 1) == ['{"item": "a", "result": "a"}\n']
        wait_for(process.stderr, WATCHING)
        (command.folder / "mine.py").write_text(text)
        said = wait_for(process.stderr, WATCHING)
        for part in ["mine.py changed", "the new code is not used", *told]:
            assert part in said
        code("5 * x")
        assert read(process, 1) == ['{"item": "a", "result": "aaaaa"}\n']
        wait_for(process.stderr, WATCHING)
        interrupt(process)


def test_failed_items_do_not_end_it(command, code) -> None:
    """Each pass is told and counted for itself."""
    with command.start("map", "jobs:fail", "bad", "--watch", "--watch-path", "mine.py") as process:
        assert "0 done, 1 failed" in wait_for(process.stderr, WATCHING)
        code("x")
        assert "0 done, 1 failed" in wait_for(process.stderr, WATCHING)
        read(process, 2)
        interrupt(process)


def test_other_paths_are_watched_too(command, tmp_path) -> None:
    """A folder of data that the function reads; the option is enough to watch."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "word").write_text("one")
    (tmp_path / "reader.py").write_text("def f(path): return open(path).read()\n")
    with command.start("map", "reader:f", "data/word", "--watch-path", "data") as process:
        assert '"one"' in read(process, 1)[0]
        assert "data" in wait_for(process.stderr, WATCHING)
        (data / "word").write_text("two")
        assert '"two"' in read(process, 1)[0]
        assert "data/word changed" in wait_for(process.stderr, WATCHING)
        interrupt(process)


def test_lines_of_standard_input_are_kept(command, code) -> None:
    """They cannot be read twice, and are mapped twice."""
    with command.start("map", "mine:f", "--ordered", "--watch") as process:
        process.stdin.write("a\nb\n")
        process.stdin.close()
        process.stdin = None
        assert len(read(process, 2)) == 2
        wait_for(process.stderr, WATCHING)
        code("2 * x")
        assert read(process, 2) == ['{"item": "a", "result": "aa"}\n', '{"item": "b", "result": "bb"}\n']
        wait_for(process.stderr, WATCHING)
        interrupt(process)


def test_change_during_a_pass_is_followed_by_another(command, code, until) -> None:
    """The pass ends in the old code; what was saved meanwhile is not forgotten."""
    with command.start("map", "jobs:gated", "a", "--watch-path", "mine.py") as process:
        until(lambda: (command.folder / "began-a").exists())
        code("2 * x")
        (command.folder / "go").touch()
        assert len(read(process, 2)) == 2
        assert wait_for(process.stderr, "mine.py changed")
        wait_for(process.stderr, WATCHING)
        interrupt(process)


def test_interrupt_during_a_pass_names_what_was_not_done(command, until) -> None:
    """As without --watch, and it does not go on to watch."""
    with command.start("map", "jobs:gated", "a", "b", "--workers", "1", "--watch") as process:
        until(lambda: (command.folder / "began-a").exists())
        process.send_signal(signal.SIGINT)
        wait_for(process.stderr, "interrupted")
        (command.folder / "go").touch()
        _, err = process.communicate()
    assert "not done: 1 of 2 items" in err
    assert WATCHING not in err
    assert process.returncode == 130


def test_reader_that_has_had_enough_ends_the_next_pass(command, code) -> None:
    """As ``cat`` would end, with status 141."""
    with command.start("map", "mine:f", "a", "--watch") as process:
        read(process, 1)
        wait_for(process.stderr, WATCHING)
        process.stdout.close()
        code("2 * x")
        assert process.wait() == 141
        assert process.stderr.read() == "mine.py changed\n"
        process.stdout = None


def test_pass_that_could_not_read_all_items_is_the_last(command, code) -> None:
    """Input that cannot be read cannot be had again."""
    with command.start("map", "mine:f", "--watch", stdin=None, preexec_fn=lambda: os.close(0)) as process:
        _, err = process.communicate()
    assert "standard input cannot be read" in err
    assert process.returncode == 2


REFUSED = {
    ("--watch", "sys:getsizeof"): ["has no file that could be watched", "--watch-path"],
    ("--watch-path", "no/such", "jobs:double"): ["no/such cannot be watched"],
    ("--watch", "jobs:doublee"): ["did you mean 'double'?"],
}


@pytest.mark.parametrize(("words", "told"), REFUSED.items(), ids=["builtin", "no path", "no target"])
def test_what_cannot_be_watched_is_refused(command, words, told) -> None:
    """Status 2, before anything is mapped."""
    done = command("map", *words, "a")
    assert (done.status, done.out) == (2, "")
    for part in told:
        assert part in done.err


def test_missing_package_is_told_with_its_remedy(command) -> None:
    """Before anything is mapped."""
    (command.folder / "hidden").mkdir()
    (command.folder / "hidden" / "watchfiles.py").write_text("raise ImportError('hidden')\n")
    command.env["PYTHONPATH"] = f"{command.folder / 'hidden'}{os.pathsep}{command.env['PYTHONPATH']}"
    done = command("map", "--watch", "jobs:double", "a")
    assert (done.status, done.out) == (2, "")
    assert 'pip install "trio-folk[watch]"' in done.err


def test_quiet_watch_says_nothing(command, code) -> None:
    """Results alone."""
    with command.start("map", "mine:f", "a", "--watch", "--quiet") as process:
        read(process, 1)
        # nothing says that it watches; a change during the pass is seen as well
        code("2 * x")
        assert read(process, 1) == ['{"item": "a", "result": "aa"}\n']
        assert interrupt(process) == ""


def test_terminal_shows_each_pass(command, code) -> None:
    """The bar of the second pass begins at nought; results and words stand on lines of their own."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(
            [*command.argv, "map", "mine:f", "a", "[b]", "--watch"],
            cwd=command.folder,
            env=command.env | {"TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        ) as process:
            seen = until_seen(master, "watching mine.py; Ctrl-C ends\r\n")
            assert "2 done, 0 failed" in seen
            code("2 * x")
            seen = until_seen(master, "watching mine.py; Ctrl-C ends\r\n")
            assert "mine.py changed\r\n" in seen
            assert '{"item": "[b]", "result": "[b][b]"}\r\n' in seen
            assert "2 done, 0 failed" in seen
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
    finally:
        os.close(master)
        os.close(slave)


def until_seen(master: int, text: str) -> str:
    """What the terminal gets, until it has this."""
    seen = b""
    while text.encode() not in seen:
        seen += os.read(master, 65536)
    return seen.decode()


def reader(chunks: list[bytes]):
    """What reads these, one after another, and then nothing."""
    return lambda fd, size: chunks.pop(0) if chunks else b""


async def test_kept_items_are_had_again_and_read_on() -> None:
    """What was not read the first time is read the second; how many there are is known at the end."""
    kept = Kept(Lines(0, read=reader([b"a\nb", b"\nc\n"])))
    assert kept.total is None
    assert [await kept.next(), await kept.next()] == ["a", "b"]
    assert not kept.whole
    kept.again()
    with trio.fail_after(60):
        assert [await kept.next() for _ in range(4)] == ["a", "b", "c", None]
    assert (kept.whole, kept.total) == (True, 3)
    kept.again()
    assert kept.left() == ["a", "b", "c"]
    assert [await kept.next() for _ in range(4)] == ["a", "b", "c", None]

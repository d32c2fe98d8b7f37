"""Wrong words, targets that are not there, pools that cannot start: exit status 2 and a sentence that helps."""

from __future__ import annotations

import pytest

import trio_folk

TARGETS = {
    "jobs:doublee": "did you mean 'double'?",
    "job:double": "did you mean 'jobs'?",
    "jobs.doublee": "did you mean 'double'?",
    "os.pth:getsize": "No module named 'os.pth'",
    "jobs:worker": "name one of its methods, 'jobs:worker.echo'",
    "jobs:worker.shrnk": "did you mean 'shrink'?",
    "jobs:JOBS.x": "has no attribute 'JOBS'",
    "jobs:__name__": "cannot be called",
    "double": "is written 'module:function'",
    "jobs:": "is written 'module:function'",
    "a b:c": "is written 'module:function'",
    "broken:f": "ZeroDivisionError",
    "exits:f": "called sys.exit(7)",
    "dies:f": "exited with status 5",
}


@pytest.mark.parametrize(("target", "told"), TARGETS.items(), ids=TARGETS.keys())
def test_target_that_is_not_there_is_told(command, target, told) -> None:
    """One sentence, with what was probably meant, no results, and status 2."""
    (command.folder / "broken.py").write_text("def half():\n    1 / 0\n\nhalf()\n")
    (command.folder / "exits.py").write_text("import sys\nsys.exit(7)\n")
    (command.folder / "dies.py").write_text("import os\nos._exit(5)\n")
    done = command("map", target, "a", "--workers", "1")
    assert (done.status, done.out) == (2, "")
    assert told in done.err
    if target == "broken:f":
        assert 'broken.py", line 2, in half' in done.err
        assert "importlib" not in done.err


def test_target_is_not_imported_by_the_command_itself(command) -> None:
    """What a module does when it is imported happens in workers only."""
    (command.folder / "tell.py").write_text(
        "import os\nfrom pathlib import Path\nPath(f'imported-{os.getpid()}').touch()\n\ndef f(x): return os.getpid()\n"
    )
    done = command("map", "tell:f", "a", "--workers", "1")
    assert [path.name for path in command.folder.glob("imported-*")] == [f"imported-{done.results[0]}"]


def test_target_does_not_see_how_it_was_named(command) -> None:
    """The variable that tells the worker its target is not passed on."""
    done = command("map", "os:getenv", "FOLK_MAP_TARGET")
    assert done.results == [None]


def test_modules_of_the_current_directory_are_found(command) -> None:
    """Also where the interpreter itself leaves that directory out, as for the installed script."""
    command.argv.insert(1, "-P")
    assert command("map", "jobs:double", "a").results == ["aa"]


def test_slow_import_is_on_the_clock_of_the_boot(command) -> None:
    """A module that takes longer to import than an item may take is no failure; longer than a boot is."""
    (command.folder / "slow.py").write_text("import time\ntime.sleep(1)\n\ndef f(x): return x\n")
    assert command("map", "slow:f", "a", "--timeout", "0.5", "--workers", "1").results == ["a"]
    late = command("map", "slow:f", "a", "--boot-timeout", "0.3", "--workers", "1")
    assert late.status == 2
    assert "not ready within 0.3 s" in late.err


WORDS = {
    (): "usage:",
    ("mpa",): "invalid choice: 'mpa'",
    ("map",): "TARGET is missing",
    ("map", "--workers", "0", "jobs:f"): "'0' is not a whole number from 1",
    ("map", "--workers", "two", "jobs:f"): "'two' is not a whole number",
    ("map", "--timeout", "0", "jobs:f"): "'0' is not a number above 0",
    ("map", "--timeout", "nan", "jobs:f"): "'nan' is not a number above 0",
    ("map", "--retries", "-1", "jobs:f"): "'-1' is not a whole number from 0",
    ("map", "--no-such", "jobs:f"): "unrecognized arguments: --no-such",
}


@pytest.mark.parametrize(
    ("words", "told"), WORDS.items(), ids=[" ".join(words) or "nothing" for words in WORDS]
)
def test_wrong_words_are_refused(command, words, told) -> None:
    """Status 2, and what is wrong with them."""
    done = command(*words)
    assert (done.status, done.out) == (2, "")
    assert told in done.err


def test_line_that_is_too_long_ends_the_map(command) -> None:
    """Input without an end of line is not gathered without bound; what came before is done."""
    done = command("map", "jobs:double", stdin="a\n" + "x" * (9 * 1024 * 1024))
    assert done.results == ["aa"]
    assert "longer than" in done.err
    assert done.status == 2


def test_help_and_version_are_printed(command) -> None:
    """On standard output, with status 0."""
    assert command("--version").out == f"trio-folk {trio_folk.__version__}\n"
    shown = command("map", "--help")
    assert shown.status == 0
    for option in ["--workers", "--timeout", "--retries", "--max-jobs", "--memory", "--ordered", "--json"]:
        assert option in shown.out


def test_target_may_stand_after_the_dashes(command) -> None:
    """``--`` before the target is no target."""
    assert command("map", "--", "jobs:double", "-a").results == ["-a-a"]

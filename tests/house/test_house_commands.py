"""The README's two commands: one fenced line each, and the automatic run uses precisely the second."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RUN = ROOT / ".ci" / "run"


def commands(text: str, heading: str) -> list[str]:
    """What the fenced blocks under a heading hold, up to the next heading of its level."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL) if section else []
    return [block.strip() for block in blocks]


def run_in(folder: Path, readme: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run beside another README, where nothing is missing and so nothing is installed."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").write_bytes(RUN.read_bytes())
    (folder / "README.md").write_text(readme)
    tools = folder / "bin"
    tools.mkdir()
    for name in ("php", "node", "tmux"):
        (tools / name).write_text("#!/bin/sh\necho msgpack\n")
        (tools / name).chmod(0o755)
    return subprocess.run(
        ["bash", str(folder / ".ci" / "run")],
        cwd="/",
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_readme_has_one_line_to_paste(heading: str) -> None:
    """Under each of the two headings stands exactly one fenced block of exactly one line."""
    found = commands(README.read_text(), heading)
    assert len(found) == 1
    assert len(found[0].splitlines()) == 1


def test_readme_reader_can_fail() -> None:
    """Two blocks, or two lines, are seen as two."""
    text = "## Run it\n```sh\na\n```\n```sh\nb\nc\n```\n\n## Test it\n```\nd\n```\n"
    assert commands(text, "Run it") == ["a", "b\nc"]
    assert commands(text, "Test it") == ["d"]
    assert commands(text, "Other") == []


def test_ci_is_executable() -> None:
    """The automatic run is started by its path."""
    assert os.access(RUN, os.X_OK)


def test_ci_runs_precisely_the_test_command(tmp_path: Path) -> None:
    """It runs the one line under ``## Test it``, quotes and operators and all, from the repository's root."""
    line = """x='a  b' && echo "$x|$PWD" | cat"""
    done = run_in(
        tmp_path, f"# p\n\n## Run it\n```sh\necho no\n```\n\n## Test it\n\nwords\n\n```sh\n{line}\n```\n"
    )
    assert done.stdout.splitlines()[-1] == f"a  b|{tmp_path}"
    assert done.returncode == 0


def test_ci_ends_with_the_status_of_the_tests(tmp_path: Path) -> None:
    """A red run is red."""
    assert run_in(tmp_path, "## Test it\n```\nexit 3\n```\n").returncode == 3


@pytest.mark.parametrize("block", ["", "```\na\n```\n```\nb\n```\n", "```\na\nb\n```\n"])
def test_ci_refuses_a_readme_without_the_one_command(tmp_path: Path, block: str) -> None:
    """No command, two blocks or two lines end the run at once with a sentence, never with success."""
    done = run_in(tmp_path, f"## Test it\n{block}\n## Next\n```\nexit 0\n```\n")
    assert done.returncode != 0
    assert "Test it" in done.stderr


def test_interpreter_is_new_enough() -> None:
    """The tests themselves run on a Python that the package supports."""
    assert sys.version_info >= (3, 11)

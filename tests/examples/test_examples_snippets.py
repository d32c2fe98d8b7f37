"""Every Python block of README.md and docs/*.md runs as printed, and prints what the page says it prints.

A block whose first line is ``# some/file.py`` is that file; it is run only if it is ``main.py``. Every other
block is a program. The blocks of a page share a directory. A ``text`` block right after a program is its output;
numbers, paths and the marks under a line of code are not compared, for they differ by machine and by Python.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [path for path in TEXTS if "```python" in path.read_text()]
BOUND = 60  # seconds for a program; each takes less than two

BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)\b")


@attrs.frozen
class Block:
    """A block of a page."""

    line: int
    text: str
    output: str | None = None

    @property
    def file(self) -> str | None:
        """The file that it is, if it is one."""
        match = FILE.match(self.text)
        return match[1] if match else None


def _environment() -> dict[str, str]:
    """Ours, without coverage's: what it prints in a worker that is killed is not on the page."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def blocks(page: str) -> list[Block]:
    return [Block(page.count("\n", 0, each.start()) + 2, each[1], each[2]) for each in BLOCK.finditer(page)]


def comparable(output: str) -> list[str]:
    """The lines of an output, without what differs by machine, run or Python."""
    output = re.sub(r'"[^"\n]*/([^"/\n]+)"', r'"\1"', output)
    output = re.sub(r"\d+(\.\d+)?", "0", output)
    lines = [line.rstrip() for line in output.splitlines()]
    return [line for line in lines if line and not re.fullmatch(r"[\s|]*[~^]+", line)]


def run(folder: Path, name: str) -> str:
    """What a program prints, on both streams."""
    done = subprocess.run(
        [sys.executable, name],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_page_runs_as_printed(page: Path, tmp_path: Path) -> None:
    """Its files are written, its programs run, and print what stands below them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in blocks(page.read_text()):
        name = block.file or f"line_{block.line}.py"
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.file not in (None, "main.py"):
            continue
        if "PipeRuntime.php(" in block.text and shutil.which("php") is None:
            continue  # test_examples_foreign_workers.py says which package to install
        printed = run(tmp_path, name)
        if block.output is not None:
            assert comparable(printed) == comparable(block.output), (
                f"{page.name}:{block.line} prints\n{printed}"
            )


def test_readme_example_is_the_one_in_the_repository() -> None:
    """examples/pictures is the README's example, to the letter."""
    files = {block.file: block.text for block in blocks((ROOT / "README.md").read_text()) if block.file}
    assert len(files) == 3
    for name, text in files.items():
        assert text == (ROOT / "examples" / "pictures" / name).read_text(), name


def test_reload_example_is_the_one_in_the_repository() -> None:
    """The program of docs/reload.md, which was run with its output, is examples/reload.py, to the letter."""
    (program,) = blocks((ROOT / "docs" / "reload.md").read_text())
    assert program.text == (ROOT / "examples" / "reload.py").read_text()
    assert program.output is not None


def test_survey_counts_functions() -> None:
    """The function of the README's first command says something true, here of its own file."""
    command = [sys.executable, "-m", "trio_folk", "map", "examples.survey:survey", "examples/survey.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    assert '"functions": 2, "longest": "survey, ' in done.stdout


def test_reader_of_pages_sees_files_programs_and_outputs() -> None:
    """It can fail: blocks are told apart, and differences that matter are seen."""
    page = "a\n```python\n# x/y.py: words\n1\n```\n\n```python\n2\n```\n\n```text\nout\n```\n```text\nother\n```\n"
    assert blocks(page) == [Block(3, "# x/y.py: words\n1\n", None), Block(8, "2\n", "out\n")]
    assert [block.file for block in blocks(page)] == ["x/y.py", None]
    assert comparable('File "/a/b.py", line 3, pid 77\n  ^^\n') == comparable(
        'File "/c/b.py", line 12, pid 4'
    )
    assert comparable("killed by SIGKILL") != comparable("killed by SIGTERM")

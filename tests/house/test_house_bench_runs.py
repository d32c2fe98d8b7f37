"""The benchmarks run: short samples, a peer that fails, the page, and a comparison of the library with itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.launch import Found
from bench.record import Record
from bench.report import Cell

ROOT = Path(__file__).parents[2]
RUN = ROOT / "bench" / "run.py"
MACHINE = {
    "python": "3.11.7",
    "system": "Linux",
    "processor": "abacus",
    "cpus": 2,
    "load": [0.1, 0.1, 0.1],
    "date": "2026-11-25",
    "revision": "abc1234",
    "versions": {"trio": "0.35.0"},
}
MEASURES = "curve,mixed,bandwidth,slots,crowd"


def bench(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks, whatever the folder."""
    return subprocess.run(
        [sys.executable, str(RUN), *arguments],
        cwd="/",
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
    )


def worktrees() -> str:
    listing = ["git", "worktree", "list", "--porcelain"]
    return subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def test_short_sample_of_the_measures_of_many(tmp_path: Path) -> None:
    """Each finds numbers of ours, nothing fails, and no forked worker is left."""
    file = tmp_path / "run.json"
    done = bench("--short", "--only", MEASURES, "--peers", "trio_folk", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(file.read_text())["measures"]
    assert found.keys() == {*MEASURES.split(",")}
    assert found["crowd"]["trio_folk.fork"]["columns"]["left"]["max"] == 0
    assert found["mixed"]["trio_folk"]["columns"]["passed over"]["max"] == 0


def test_peer_that_fails_does_not_lose_the_rest(tmp_path: Path) -> None:
    """It is told, the exit status says so, and the numbers of the others are written."""
    (tmp_path / "anyio.py").write_text("raise ImportError('not today')\n")
    file = tmp_path / "run.json"
    arguments = ("--short", "--only", "calls", "--peers", "anyio,trio_folk.execute", "--json", str(file))
    done = bench(*arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "anyio failed in round 1: ImportError: not today" in done.stdout
    columns = json.loads(file.read_text())["measures"]["calls"]["trio_folk.execute"]["columns"]
    assert columns["p50"]["median"] > 0


def recorded() -> Record:
    """A run of two rounds, in the second of which a peer hung."""
    curve = {f"{callers}, p{percent}": 1.0 + callers for callers in (1, 2, 4) for percent in (50, 99)}
    cells = [
        Cell(1, "callers", "trio_folk", Found({"calls/s": 60.0}, None, 0), 2.0),
        Cell(1, "callers", "anyio", Found({"calls/s": 10.0}, None, 0), 2.0),
        Cell(1, "curve", "trio_folk", Found({"1 calling": 9.0, **curve}, None, 0), 4.0),
        Cell(2, "callers", "trio_folk", Found({"calls/s": 80.0}, None, 0), 2.0),
        Cell(2, "callers", "anyio", Found(None, "no end in 90 s", 3), 90.0),
    ]
    return Record("bench", MACHINE, 2, False, cells)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="the pictures need matplotlib")
def test_page_is_made_of_a_record(tmp_path: Path) -> None:
    """Targets, pictures, tables with their spread; a peer that failed is below its table, and the rest is there."""
    recorded().write(tmp_path / "run.json")
    done = bench("--from", str(tmp_path / "run.json"), "--page", str(tmp_path / "page.md"))
    assert done.stdout.splitlines()[-2:] == [
        str(tmp_path / "page.md"),
        str(tmp_path / "pictures" / "bench-callers.svg"),
    ]
    text = (tmp_path / "page.md").read_text()
    for words in (
        "| trio_folk | 70 (60-80) |",
        "anyio failed in round 2: no end in 90 s\nanyio left 3 processes behind",
        "pictures/bench-callers.svg",
        "trio_folk at abc1234",
        "| at least 6 | 6 ",
    ):
        assert words in text
    assert "<svg" in (tmp_path / "pictures" / "bench-callers.svg").read_text()


def test_comparison_with_itself_finds_nothing_and_leaves_nothing() -> None:
    """One round says too little for a verdict; the worktree of the commit is gone."""
    before = worktrees()
    if not before:
        pytest.skip("no git repository here")
    arguments = ("--short", "--only", "calls", "--peers", "trio_folk.execute", "--rounds", "1")
    done = bench("--compare", "HEAD", *arguments)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| calls")]
    assert len(rows) == 2
    assert all("too few rounds" in row for row in rows)
    assert worktrees() == before


def test_comparison_that_is_ended_leaves_nothing() -> None:
    """SIGTERM in the middle of a cell: the worktree is gone, and the status is that of the signal."""
    before = worktrees()
    if not before:
        pytest.skip("no git repository here")
    command = [
        sys.executable,
        str(RUN),
        "--compare",
        "HEAD",
        "--only",
        "callers",
        "--peers",
        "trio_folk.execute",
    ]
    running = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with running:
        assert running.stderr is not None
        assert "round 1" in running.stderr.readline()  # the commit is checked out by now
        assert worktrees() != before
        running.terminate()
        assert running.wait(60) == 143
    assert worktrees() == before


def test_comparison_with_what_is_no_commit_says_so() -> None:
    """In the words of git, before anything is measured."""
    if not worktrees():
        pytest.skip("no git repository here")
    done = bench("--compare", "no-such-commit")
    assert done.returncode == 1
    assert "cannot compare: git worktree" in done.stderr

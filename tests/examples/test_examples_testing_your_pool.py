"""examples/testing_your_pool: its tests pass as they are, on tasks and on processes, and can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "testing_your_pool"
BOUND = 100  # seconds; each run takes less than three


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy, so that nothing of this repository's configuration reaches it."""
    return Path(
        shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    )


def outcome_of(project: Path, *options: str) -> tuple[int, str]:
    """How its tests end, and what they say."""
    plugin = ("-p", "trio_folk.testing.pytest_plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *options],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )
    return done.returncode, done.stdout


def test_its_tests_pass_on_tasks(project: Path) -> None:
    """All of them, and none is skipped."""
    code, said = outcome_of(project)
    assert code == 0, said
    assert "10 passed" in said
    assert "skipped" not in said


@pytest.mark.parametrize("runtime", ["fork", "pipe"])
def test_those_without_a_clock_pass_on_processes(project: Path, runtime: str) -> None:
    """The same tests, with real workers."""
    code, said = outcome_of(project, f"--folk-runtime={runtime}", "-k", "each_order or given_up")
    assert code == 0, said
    assert "2 passed" in said


def test_a_clean_up_that_is_missing_is_found(project: Path) -> None:
    """Without its `finally` a cancelled order stays reserved, and two of the tests say so."""
    jobs = project / "shop" / "jobs.py"
    text = jobs.read_text()
    broken = text.replace(
        "    finally:\n        reserved.discard(item)\n", "    finally:\n        print(end='')\n"
    )
    assert broken != text
    jobs.write_text(broken)
    code, said = outcome_of(project)
    assert code == 1, said
    assert "test_no_reservation_survives_a_cancellation" in said
    assert "the invariant does not hold" in said
    assert "test_an_order_that_is_given_up_reserves_nothing" in said

"""The streaming example: the first matches of each file, and no wait for the rest of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND = 60  # seconds; it takes less than two


def test_the_first_matches_are_printed_and_the_search_is_over(tmp_path: Path) -> None:
    """Three of a million matches of the first file, all of the second."""
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("a needle\n" * 1_000_000)
    small.write_text("hay\na needle\nhay\n")
    done = subprocess.run(
        [sys.executable, "-m", "examples.streaming.main", "needle", str(large), str(small)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    )
    assert done.stdout.splitlines() == [
        *(f"{large}:{line}: a needle" for line in (1, 2, 3)),
        f"{small}:2: a needle",
    ]
    assert "100 %" in done.stderr

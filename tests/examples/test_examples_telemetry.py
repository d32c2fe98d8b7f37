"""The telemetry example: one trace over two processes, and nothing lost of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND = 60  # seconds; it takes less than two


def test_the_spans_of_the_workers_belong_to_the_programs_trace(tmp_path: Path) -> None:
    """They come with the worker's last words, for their batch is due only in some seconds."""
    text = tmp_path / "text"
    text.write_text("three small words")
    done = subprocess.run(
        [sys.executable, "-m", "examples.telemetry.main", str(text)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    )
    assert f"{text} 3" in done.stdout
    here = dict(
        reversed(line.split(" program: ")) for line in done.stdout.splitlines() if " program: " in line
    )
    assert here.keys() >= {"count all", "words"}
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    there = [each["message"] for each in logged if each.get("worker", "").startswith("words/")]
    assert {*there} == {f"{here['count all']} worker: {name}" for name in ("read", "count", "words")}

"""The example runs on two nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_cluster import Cluster

ROOT = Path(__file__).parents[2]
BOUND = 110.0


@pytest.mark.timeout(BOUND + 10)
def test_primes_are_counted_by_two_workers(cluster: Cluster) -> None:
    """The worker's code was shipped: its package has this name nowhere here."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.ray_overflow.main", cluster.address],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "9592 primes below 100000" in lines
    assert lines[-1] == "by 2 workers"

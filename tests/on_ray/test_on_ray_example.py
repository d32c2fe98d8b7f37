"""The example runs on two nodes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ray_cluster import Cluster

ROOT = Path(__file__).parents[2]
BOUND = 110.0


@pytest.mark.timeout(BOUND + 10)
def test_ray_takes_what_is_too_much_for_one_worker_here(cluster: Cluster) -> None:
    """The first call runs here and starts nothing on Ray; with two hundred more both have their share."""
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
    assert lines[0] == "one call, on 1 worker: {'this machine': 1}"
    told = re.fullmatch(r"200 more, on 3 workers: {'this machine': (\d+), 'Ray': (\d+)}", lines[-1])
    assert told is not None, lines
    assert int(told[1]) + int(told[2]) == 201
    assert int(told[2]) > 0

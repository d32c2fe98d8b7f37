"""The tests of the benchmarks import `bench` from the repository; a source distribution has neither it nor them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if (ROOT / "bench").is_dir():
    sys.path.insert(0, str(ROOT))
    collect_ignore_glob: list[str] = []
else:
    collect_ignore_glob = ["test_house_bench*.py"]

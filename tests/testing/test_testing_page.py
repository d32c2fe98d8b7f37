"""The tests printed in docs/testing.md, testing-your-pool.md and explorer.md pass as they are printed; their programs
are run with those of other pages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "docs" / name for name in ("testing.md", "testing-your-pool.md", "explorer.md")]
FILES = dict(FILE.findall("".join(page.read_text() for page in PAGES)))
TESTS = [name for name in FILES if name.startswith("test_")]
BOUND = 100  # seconds; the contract takes five


def test_pages_have_tests() -> None:
    """The reader of the pages sees them, or nothing would be run."""
    assert {"test_gallery_faults.py", "test_counting.py", "test_plugin.py", "test_transfer.py"} <= set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_tests_of_the_pages_pass(tmp_path: Path, name: str) -> None:
    """In a project of their own, with the pages' conftest.py around each of them."""
    for other, text in FILES.items():
        (tmp_path / other).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "trio_folk.testing.pytest_plugin", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout

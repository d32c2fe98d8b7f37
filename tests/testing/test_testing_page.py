"""The tests printed in docs/testing.md pass as they are printed; its programs are run with those of other pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(FILE.findall((ROOT / "docs" / "testing.md").read_text()))
TESTS = [name for name in FILES if name.startswith("test_")]
BOUND = 100  # seconds; the contract takes five


def test_page_has_tests() -> None:
    """The reader of the page sees them, or nothing would be run."""
    assert {"test_gallery.py", "test_gallery_faults.py", "test_counting.py"} <= set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_tests_of_the_page_pass(tmp_path: Path, name: str) -> None:
    """In a project of their own, with the page's conftest.py around each of them."""
    for other, text in FILES.items():
        (tmp_path / other).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout

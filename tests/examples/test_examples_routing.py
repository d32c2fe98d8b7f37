"""The routing examples are the programs of docs/routing.md, which are run there with their outputs, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["jobs.py", "keys.py", "own_router.py"])
def test_each_example_is_a_program_of_the_page(name: str) -> None:
    """As it stands there."""
    text = (ROOT / "examples" / "routing" / name).read_text()
    assert f"```python\n{text}```\n" in (ROOT / "docs" / "routing.md").read_text()

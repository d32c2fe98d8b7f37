"""A directory for each test, and no daemon that outlives it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_kit import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A directory for backends; whatever runs for it is killed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="brk-"))
    found = Broker(folder)
    try:
        yield found
    finally:
        found.kill_all()
        shutil.rmtree(folder)

"""Functions that the tests of large buffers under fire run in workers, and how both sides see what is shared."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

kept: list[tuple[int, Any]] = []


def pattern(number: int, size: int) -> bytes:
    """Bytes that tell which call they belong to, at any place."""
    return (number % 251).to_bytes(1, "big") * size


def tells(view: Any, number: int) -> bool:
    """Whether all of it is still that call's."""
    return bytes(view) == pattern(number, len(view))


def work(view: Any, number: int) -> Any:
    """Check the argument and those kept before, keep it now and then, and return as much."""
    assert tells(view, number), "the argument was overwritten"
    assert all(tells(old, its) for its, old in kept), "an argument that was kept was overwritten"
    if random.random() < 0.2:
        kept.append((number, view))
        del kept[:-3]
    time.sleep(random.random() * 0.004)
    assert tells(view, number), "the argument was overwritten during the call"
    return memoryview(pattern(number + 1, len(view)))


def mapped(pid: int | str = "self") -> int:
    """How many segments a process has mapped."""
    try:
        return Path(f"/proc/{pid}/maps").read_text().count("/memfd:trio_folk")
    except (FileNotFoundError, ProcessLookupError):
        return 0

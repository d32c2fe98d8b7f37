"""Versions: which running backend will do, which is to be replaced, and which is too new for this program.

Knows numbers. Does not know processes.
"""

from __future__ import annotations

import enum
import re

__all__ = ["Fit", "core_of", "is_version"]

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-[a-z0-9.]+)?", re.ASCII)


class Fit(enum.Enum):
    """What a running version is to one who asks."""

    GOOD = "good"
    OLD = "old"
    """To be replaced, gracefully."""
    NEW = "new"
    """Not to be used, and never replaced by an older one."""


def is_version(text: str) -> bool:
    """Whether it reads ``MAJOR.MINOR.PATCH``, perhaps with ``-suffix``."""
    return _VERSION.fullmatch(text) is not None


def core_of(text: str) -> tuple[int, int, int]:
    """The three numbers; the suffix does not count, nor does anything in what is no version at all."""
    found = _VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)

"""Functions that the tests of the runtimes have run in workers."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any


class Point:
    """Two numbers, compared by value."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]

    def moved(self, by: int) -> Point:
        """Another one."""
        return Point(self.x + by, self.y + by)

    @classmethod
    def origin(cls) -> Point:
        """The first one."""
        return cls(0, 0)


class OwnError(Exception):
    """An error with an attribute."""

    def __init__(self, message: str, detail: int = 0) -> None:
        super().__init__(message)
        self.detail = detail


def raise_own() -> None:
    """Raises one."""
    error = OwnError("own", 7)
    error.add_note("from the function")
    raise error


def interpreter() -> dict[str, Any]:
    """What this interpreter was started with."""
    return {
        "path": sys.path,
        "xoptions": sys._xoptions,
        "warnoptions": sys.warnoptions,
        "flags": {
            name: getattr(sys.flags, name)
            for name in ("optimize", "dont_write_bytecode", "dev_mode", "utf8_mode")
        },
        "pythonpath": os.environ.get("PYTHONPATH"),
        "folk": sorted(name for name in os.environ if name.startswith("FOLK_")),
        "prefix": sys.prefix,
        "cwd": os.getcwd(),
        "filters": len(warnings.filters),
        "main": sys.modules["__main__"].__spec__.name if sys.modules["__main__"].__spec__ else None,
    }

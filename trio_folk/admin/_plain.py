"""Plain values: a pool's records as maps of words and numbers, which MessagePack and JSON both hold.

Endless times become nil: JSON has no infinity, and what reads it need not be Python.

What does not work
    attrs.asdict: nearly three times slower, which a pool of hundreds of slots that is watched would feel.

Knows records. Does not know who reads them.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import attrs

__all__ = ["plain"]

LONGEST = 2000
"""Characters of a reason or failure that are told: a traceback belongs into a log."""


def plain(record: Any) -> dict[str, Any]:
    """An attrs record, with all records in it."""
    return {field.name: _plain(getattr(record, field.name)) for field in attrs.fields(type(record))}


def _plain(value: Any) -> Any:
    if value is None or type(value) is int or type(value) is bool:
        return value
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return value.name
    return [_plain(each) for each in value] if isinstance(value, tuple) else plain(value)

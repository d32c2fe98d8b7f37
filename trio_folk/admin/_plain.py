"""Plain values: a pool's records as maps of words and numbers, which MessagePack and JSON both hold.

Endless times become nil: JSON has no infinity, and what reads it need not be Python.

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
    told: dict[str, Any] = attrs.asdict(record, value_serializer=_plain)
    return told


def _plain(_: object, field: object, value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value[:LONGEST] if isinstance(value, str) else value

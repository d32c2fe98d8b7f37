"""Logs as JSON, a line a record: what a machine can search by worker.

A worker's output is a stranger's text. As JSON a line of it stays a line: a newline, an escape sequence or half of a
character in it ends no record and forges none.

Knows logging. Does not know who logs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

__all__ = ["JsonLines"]


class JsonLines(logging.Formatter):
    """One line of JSON for each record: ``handler.setFormatter(JsonLines())``.

    Keys are ``time`` (UTC, ISO 8601), ``level``, ``logger`` and ``message``; for what workers print also ``worker``,
    the id, and ``stream``; for exceptions ``exception``, the traceback. None of them is there without a value.

    Args:
        fields: names of more attributes of records, as ``extra=`` of logging calls sets them. What is not JSON is
            written as text.
    """

    def __init__(self, fields: Iterable[str] = ()) -> None:
        super().__init__()
        self._fields = ("worker", "stream", *fields)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a newline."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": getattr(record, "line", None) or record.getMessage(),
        }
        for name in self._fields:
            value = getattr(record, name, None)
            if value is not None:
                told[name] = value
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)

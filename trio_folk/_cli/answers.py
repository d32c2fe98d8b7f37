"""An item's answer as a line of JSON, and as what a reader of a terminal is told of a failure.

Knows text. Does not know how answers come about.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from .._errors import ApplicationError, FolkError
from ..worker._failures import encodable
from .items import Item
from .tally import Tally

__all__ = ["error_of", "line_of", "not_done", "report", "shorten", "summary"]

_NAMED = 10  # items that were not done and are named
_WIDE = 100  # characters of an item or a message in a report


def line_of(item: Item, told: dict[str, Any], attempts: int = 1) -> str:
    """The line of one item, without its newline."""
    parts = [f'"item": {item.json}']
    if "error" in told:
        parts.append(f'"error": {encodable(json.dumps(told["error"], ensure_ascii=False))}')
    else:
        parts.append(f'"result": {told["result"]}')
    if told.get("encoding"):
        parts.append(f'"encoding": "{told["encoding"]}"')
    if attempts > 1:
        parts.append(f'"attempts": {attempts}')
    return "{" + ", ".join(parts) + "}"


def error_of(error: FolkError) -> dict[str, Any]:
    """What the pool raised for an item, in the form of the target's own errors, with what is known of the worker."""
    if isinstance(error, ApplicationError):
        kind = error.remote_type or type(error).__name__
        return {"type": kind, "message": error.message, "traceback": error.remote_traceback}
    told = {"type": type(error).__name__, "message": error.message, "traceback": None}
    known = {
        "worker": error.worker,
        "pid": error.pid,
        "exit_code": error.exit_code,
        "signal": error.signal,
        "stderr": list(error.stderr),
    }
    return told | {name: value for name, value in known.items() if value not in (None, [])}


def report(item: Item, error: dict[str, Any], *, whole: bool = False) -> str:
    """A failed item in two or three lines, or with its whole traceback."""
    worker = f" [{error['worker']}]" if error.get("worker") else ""
    head = f"failed {shorten(item.json)}: {error['type']}: {shorten(error['message'])}{worker}"
    trace = (error["traceback"] or "").rstrip()
    shown = trace if whole else _last_frame(trace)
    return f"{head}\n{textwrap.indent(shown, '    ')}" if shown else head


def shorten(text: str) -> str:
    """One line of it, of a bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= _WIDE else f"{line[: _WIDE - 3]}..."


def _last_frame(trace: str) -> str:
    """Where it was raised, with the line of code if the traceback has it."""
    lines = trace.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    if not starts:
        return ""
    where, *code = lines[starts[-1] : starts[-1] + 2]
    shown = [where.strip(), *(f"  {line.strip()}" for line in code if line.startswith("    "))]
    return "\n".join(shown)


def not_done(undone: Sequence[str], total: int | None) -> list[str]:
    """Which items have no line, the first of them by name; nothing if each has one."""
    if total is not None and not undone:
        return []
    if total is None:
        head = f"not done: {len(undone):,} items, and what was not read of standard input"
    else:
        head = f"not done: {len(undone):,} of {total:,} items"
    more = [f"  ... and {len(undone) - _NAMED:,} more"] if len(undone) > _NAMED else []
    return [head, *(f"  {shorten(text)}" for text in undone[:_NAMED]), *more]


def summary(tally: Tally) -> str:
    """The last line."""
    parts = [f"{tally.done:,} done", f"{tally.failed:,} failed"]
    if tally.retried:
        parts.append(f"{tally.retried:,} retried")
    return f"{', '.join(parts)} in {tally.seconds:.1f} s ({tally.rate:,.1f}/s)"

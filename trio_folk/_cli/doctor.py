"""``trio-folk doctor``: the checks as a table for people, or as JSON for programs.

Knows text. Does not know what is checked.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap

import attrs

from .checks import Check, all_checks

__all__ = ["doctor"]

_GREEN, _YELLOW, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_NAME, _WIDEST = 14, 100
_INDENT = " " * (_NAME + 10)


def doctor(*, json_wanted: bool = False) -> int:
    """Check this machine; returns 0 if everything required is there, else 1."""
    found = []
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for check in all_checks():
        found.append(check)
        if not json_wanted:
            print(_row(check, colours), flush=True)
    missing = [check.name for check in found if check.required and not check.ok]
    if json_wanted:
        print(json.dumps({"ok": not missing, "checks": [attrs.asdict(check) for check in found]}, indent=2))
    elif missing:
        print(f"\nMissing, and required: {', '.join(missing)}.")
    else:
        print("\nEverything required is there.")
    return 1 if missing else 0


def _row(check: Check, colours: bool) -> str:
    """Its name, OK, missing or BROKEN, what was found; below that what it means, and the remedy if one is due."""
    word, colour = ("OK", _GREEN) if check.ok else ("missing", _YELLOW)
    if check.required and not check.ok:
        word, colour = "BROKEN", _RED
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    notes = [check.meaning] if check.ok or not check.remedy else [check.meaning, f"remedy: {check.remedy}"]
    below = "\n".join(
        textwrap.fill(note, width, initial_indent=_INDENT, subsequent_indent=_INDENT) for note in notes
    )
    if colours:
        word, below = f"{colour}{word:<8}{_PLAIN}", f"{_DIM}{below}{_PLAIN}"
    return f"{check.name:<{_NAME}}{word:<8}  {check.found}\n{below}"

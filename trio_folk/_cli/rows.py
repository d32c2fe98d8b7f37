"""Rows of words as lines with columns, for whoever reads them in a terminal or through grep.

Knows text. Does not know what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["aligned"]


def aligned(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """One line a row, each column as wide as its widest word; nothing where there are no rows."""
    found = [tuple(row) for row in rows]
    if not found:
        return []
    every = [tuple(heads), *found]
    widths = [max(len(row[column]) for row in every) for column in range(len(heads))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]

"""The record of a run: every cell as it was found, and where, as JSON; from it the page can be made again.

Knows files. Does not know how the numbers were found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.launch import Found
from bench.report import Cell, summary, with_ratios

_LINES = ",\n  "


@attrs.frozen
class Record:
    """A run, complete or as far as it got: how it was asked for, where it ran, what was found."""

    command: str
    machine: dict[str, Any]
    rounds: int
    short: bool
    cells: Sequence[Cell]

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """The summary of all cells, with the ratios."""
        return summary(with_ratios(self.cells))

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(cell.seconds for cell in self.cells)

    def write(self, path: Path) -> None:
        """Write it, with the summary for whoever wants no more than that."""
        found = attrs.asdict(self, filter=attrs.filters.exclude("cells"))
        cells = [json.dumps(attrs.asdict(cell)) for cell in self.cells]  # a line each: there are hundreds
        head = json.dumps({**found, "measures": self.measures}, indent=1).removesuffix("\n}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{head},\n "cells": [\n  {_LINES.join(cells)}\n ]\n}}\n')


def seconds_of(path: Path) -> dict[tuple[str, str], float]:
    """How long each measure of each peer took in that run; nothing where there was none that we can read."""
    try:
        cells = read(path).cells
    except (OSError, ValueError, KeyError, TypeError):  # of an older kind, or cut off
        return {}
    return {(cell.measure, cell.peer): cell.seconds for cell in cells}


def read(path: Path) -> Record:
    """What was written."""
    found = json.loads(path.read_text())
    del found["measures"]
    cells = [Cell(**{**cell, "found": Found(**cell["found"])}) for cell in found.pop("cells")]
    return Record(**found, cells=cells)

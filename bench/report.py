"""The report: medians with minimum and maximum over the rounds, as tables and as JSON.

One number without its spread is a claim; on a noisy machine even the order of two peers may be one.
Ratios are taken inside a round, between neighbours in time, before their median is.

Knows numbers and names. Does not know how they were found.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from bench.launch import Found

RATIO_TO = {
    "calls": (("p50",), ("bare ping-pong", "bare RPC", "trio-parallel")),
    "large": (("1 MiB bytes", "64 MiB bytes", "1 MiB numpy", "64 MiB numpy"), ("trio_folk",)),
    "births": (("cold", "warm"), ("trio-parallel", "trio-parallel.forkserver")),
}
"""Of which columns, and to whose."""


@attrs.frozen
class Cell:
    """One measure of one peer in one round."""

    round: int
    measure: str
    peer: str
    found: Found
    seconds: float = 0.0


def with_ratios(cells: Sequence[Cell]) -> list[Cell]:
    """The same cells, where a ratio is asked for with a column of it for each base."""
    return [_with_ratio(cell, cells) if cell.measure in RATIO_TO else cell for cell in cells]


def _with_ratio(cell: Cell, cells: Sequence[Cell]) -> Cell:
    columns, bases = RATIO_TO[cell.measure]
    values = cell.found.values
    if values is None:
        return cell
    ratios: dict[str, float | str] = {}
    for base in bases:
        for other in cells:
            same = (other.round, other.measure, other.peer) == (cell.round, cell.measure, base)
            if not same or other.found.values is None:
                continue
            for column in columns:
                if column not in values or column not in other.found.values:
                    continue
                of = f", {column}" if len(columns) > 1 else ""
                ratios[f"x {base}{of}"] = float(values[column]) / float(other.found.values[column])
    return attrs.evolve(cell, found=attrs.evolve(cell.found, values={**values, **ratios}))


def summary(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """By measure and peer: each column's median, minimum, maximum and values; errors; processes left."""
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        row = found.setdefault(cell.measure, {}).setdefault(
            cell.peer, {"columns": {}, "errors": [], "processes left": 0}
        )
        row["processes left"] += cell.found.left
        if cell.found.error is not None:
            row["errors"].append(f"round {cell.round}: {cell.found.error}")
        for column, value in (cell.found.values or {}).items():
            row["columns"].setdefault(column, {"values": []})["values"].append(value)
    for rows in found.values():
        for row in rows.values():
            for column in row["columns"].values():
                column.update(_spread(column["values"]))
    return found


def _spread(values: Sequence[float | str]) -> dict[str, float]:
    """Nothing where one of them is a word."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return {}
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}


def table(title: str, columns: Iterable[str], rows: dict[str, Any]) -> str:
    """One measure as a Markdown table with its title, and its failures and leftovers below."""
    notes = [f"  {note}" for note in notes_on(rows)]
    return "\n".join([f"\n{title}\n", *table_of(columns, rows), *([""] if notes else []), *notes])


def table_of(columns: Iterable[str], rows: dict[str, Any]) -> list[str]:
    """The lines of the table alone; columns of ratios come last."""
    ratios = [name for row in rows.values() for name in row["columns"] if name.startswith("x ")]
    shown = list(dict.fromkeys([*columns, *ratios]))
    lines = [["peer", *shown]]
    for peer, row in rows.items():
        lines.append([peer, *(_text(row["columns"].get(column)) for column in shown)])
    return aligned(lines)


def notes_on(rows: dict[str, Any]) -> list[str]:
    """What failed, and what was left behind."""
    notes = []
    for peer, row in rows.items():
        notes += [f"{peer} failed in {error}" for error in row["errors"]]
        if row["processes left"]:
            notes.append(f"{peer} left {row['processes left']} processes behind, which were killed")
    return notes


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of a heading and rows."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return [texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]]


def _text(column: dict[str, Any] | None) -> str:
    if column is None:
        return "-"
    if "median" not in column:
        return " / ".join(dict.fromkeys(map(str, column["values"])))
    return with_spread(column["median"], column["min"], column["max"])


def with_spread(median: float, least: float, most: float) -> str:
    """A median with its minimum and maximum, where these differ."""
    text = _number(median)
    return text if least == most else f"{text} ({_number(least)}-{_number(most)})"


def _number(value: float) -> str:
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

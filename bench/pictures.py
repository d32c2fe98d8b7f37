"""The pictures of the page: latency against callers, bandwidth against size, cost against slots.

A line is the median of the rounds, the field around it goes from their minimum to their maximum.

Knows matplotlib, and the summary of a run. Does not know how that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench import bandwidth, curve, dispatch
from bench.folk import FolkTasks
from bench.ink import save, styled

COLOURS = {
    "trio_folk": "#2f8f5b",
    "trio_folk.execute": "#7cc24a",
    "trio-parallel": "#d98a1f",
    "anyio": "#3b82c4",
    "ProcessPoolExecutor": "#c4513b",
    "loky": "#9a6bc9",
    "pebble": "#c96b9f",
    "mpire": "#8a7a5c",
}
Measures = dict[str, dict[str, Any]]
"""What `report.summary` made, whole or from JSON."""


def draw_all(found: Measures, folder: Path) -> dict[str, str]:
    """Draw those of which something was measured; the file of each, and what it shows in words."""
    drawn = {}
    for measure, (file, words, draw) in PICTURES.items():
        if any(row["columns"] for row in found.get(measure, {}).values()):
            with styled():
                save(draw(found[measure]), folder / file)
            drawn[file] = words
    return drawn


def _callers(rows: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, percent in ((left, 50), (right, 99)):
        axes.set_title(f"p{percent} of a call, ms")
        _lines(axes, rows, curve.CALLERS, [f"{callers}, p{percent}" for callers in curve.CALLERS])
        _logarithmic(axes, curve.CALLERS, [f"{callers}" for callers in curve.CALLERS], "callers")
    _legend(figure, left)
    return figure


def _bandwidth(rows: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title("bytes there and back, MB/s")
    _lines(axes, rows, [*bandwidth.SIZES.values()], bandwidth.COLUMNS)
    _logarithmic(axes, [*bandwidth.SIZES.values()], bandwidth.COLUMNS, "payload")
    _legend(figure, axes)
    return figure


def _slots(rows: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title("cost of a call, workers are tasks, us")
    columns = rows.get(FolkTasks.name, {"columns": {}})["columns"]
    for callers, words, colour in (("one", "one caller", "#2f8f5b"), ("64", "64 callers", "#3b82c4")):
        names = [f"{slots}, {callers}" for slots in dispatch.SLOTS]
        _line(axes, columns, dispatch.SLOTS, names, words, colour)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dispatch.SLOTS, [f"{slots}" for slots in dispatch.SLOTS])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("slots")
    axes.grid(visible=True)
    _legend(figure, axes)
    return figure


def _lines(axes: Any, rows: dict[str, Any], places: Sequence[int], names: Sequence[str]) -> None:
    for peer, colour in COLOURS.items():
        if peer in rows:
            _line(axes, rows[peer]["columns"], places, names, peer, colour)


def _line(
    axes: Any, columns: dict[str, Any], places: Sequence[int], names: Sequence[str], words: str, colour: str
) -> None:
    """What is missing in the columns is left out of the line."""
    there = [(place, columns[name]) for place, name in zip(places, names, strict=True) if name in columns]
    if not there:
        return
    at = [place for place, _ in there]
    axes.plot(at, [each["median"] for _, each in there], label=words, color=colour, linewidth=1.6)
    least, most = ([each[end] for _, each in there] for end in ("min", "max"))
    axes.fill_between(at, least, most, color=colour, alpha=0.18, linewidth=0)


def _logarithmic(axes: Any, places: Sequence[int], texts: Sequence[str], words: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(places, texts)
    axes.set_xlabel(words)
    axes.grid(visible=True)


def _legend(figure: Figure, axes: Any) -> None:
    lines, names = axes.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside right upper")


PICTURES: dict[str, tuple[str, str, Callable[[dict[str, Any]], Figure]]] = {
    "curve": (
        "bench-callers.svg",
        "Latency of a call against the number of callers, for each library",
        _callers,
    ),
    "bandwidth": (
        "bench-bandwidth.svg",
        "Bandwidth against the size of the payload, for each library",
        _bandwidth,
    ),
    "dispatch": ("bench-slots.svg", "Cost of a call against the number of slots", _slots),
}

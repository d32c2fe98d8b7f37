"""The picture of bench/reload.py: slots able to serve, and the slowest calls, over time.

Knows matplotlib, and what a run has recorded. Does not know how that was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from bench.ink import INK, save, styled
from bench.reload_run import SLOTS, percentile

if TYPE_CHECKING:
    from bench.reload_run import Run, Step

BUCKET = 0.2  # seconds; 160 calls end in each
SLOTS_COLOUR, CALLS_COLOUR, SPAN_COLOUR = "#2f8f5b", "#3b82c4", "#d98a1f"


def draw(runs: Mapping[str, Run], path: Path) -> None:
    """Write the picture of one run of each way."""
    with styled():
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        axes = figure.subplots(2, len(runs), sharex="col", sharey="row", height_ratios=(2, 3), squeeze=False)
        for column, (way, run) in enumerate(runs.items()):
            _slots(axes[0][column], way, run)
            _calls(axes[1][column], run)
        axes[0][0].set_ylabel("slots able to serve")
        axes[1][0].set_ylabel(f"p99 of calls, ms\n(each {BUCKET:g} s)")
        save(figure, path)


def _slots(axes: Any, way: str, run: Run) -> None:
    _mark(axes, run)
    began, ended = _span(run)
    times, counts = zip(*_merged(run.sampled, run.told), strict=True)
    axes.step(
        [max(time, began) - began for time in times] + [ended - began],
        [*counts, counts[-1]],
        where="post",
        color=SLOTS_COLOUR,
        linewidth=2,
    )
    axes.set_ylim(0, SLOTS + 1)
    axes.set_yticks(range(0, SLOTS + 1, 2))
    seconds = run.reloading[1] - run.reloading[0]
    axes.set_title(f"{way}: {len(run.reloads)} reloads in {seconds:.1f} s")


def _calls(axes: Any, run: Run) -> None:
    _mark(axes, run)
    began, ended = _span(run)
    buckets: dict[int, list[float]] = {}
    for begin, end in run.calls:
        if began <= end < ended:
            buckets.setdefault(int((end - began) / BUCKET), []).append(end - begin)
    middles = [(number + 0.5) * BUCKET for number in sorted(buckets)]
    slowest = [percentile(sorted(buckets[number]), 99) * 1e3 for number in sorted(buckets)]
    axes.plot(middles, slowest, color=CALLS_COLOUR, linewidth=1.5)
    twice = 2 * percentile(run.without(), 99) * 1e3
    axes.axhline(twice, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("twice the p99 without", (0, twice), (2, 3), textcoords="offset points", fontsize=8)
    axes.set_ylim(0, 1.2 * max(twice, *slowest))
    axes.set_xlabel("seconds")


def _mark(axes: Any, run: Run) -> None:
    """Where reloads run: one field, and a line at the end of each."""
    began, _ = _span(run)
    since, to = run.reloading
    axes.axvspan(since - began, to - began, color=SPAN_COLOUR, alpha=0.18, linewidth=0)
    ends = [end - began for _, end in run.reloads for _ in range(3)]
    lines = [0, 1, math.nan] * len(run.reloads)  # as one path, which keeps the file small
    axes.plot(ends, lines, transform=axes.get_xaxis_transform(), color=SPAN_COLOUR, alpha=0.5, linewidth=0.6)
    axes.margins(x=0)


def _span(run: Run) -> tuple[float, float]:
    return run.quiet[0][0], run.quiet[-1][1]


def _merged(sampled: Sequence[Step], told: Sequence[Step]) -> list[Step]:
    """Both ways of counting as one line: what either saw below the other is seen."""
    found: list[Step] = []
    for time, count in sorted((*sampled, *told)):
        if not found or found[-1][1] != count:
            found.append((time, count))
    return found

"""reload: 64 callers of 5 ms calls go on through twenty reloads, beside the same callers left in peace.

Run ``python bench/reload.py``: it prints a table to paste, and draws docs/pictures/reload.svg. None of the peers
reloads, so forked and spawned workers stand side by side.

Knows runs, tables and files. Does not know how a run is made or drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.launch import Found
from bench.machine import machine
from bench.reload_run import CALLERS, RELOADS, SHORT_RELOADS, SLOTS, WAYS, Run, percentile, watched
from bench.report import Cell, summary, table

TITLE = (
    "{callers} callers of 5 ms calls through {reloads} reloads without a pause, {slots} slots; times in ms"
)
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "reload.svg"


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Callers through reloads, forked and spawned.")
    parser.add_argument("--rounds", type=int, help="how often each is measured: 5, or 1 with --short")
    parser.add_argument(
        "--short", action="store_true", help="a sample in seconds, to see that it runs; no picture"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there too")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help=f"the picture; {PICTURE.name} of the docs"
    )
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (1 if options.short else 5)
    if options.picture is None and not options.short:
        options.picture = PICTURE
    return options


def main(argv: Sequence[str]) -> int:
    """Measure, print and draw; 1 when a call failed or a slot was without a worker."""
    options = arguments(argv)
    where = machine()
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    cells: list[Cell] = []
    for number in range(1, options.rounds + 1):
        for way in WAYS:
            print(f"round {number}: {way}", file=sys.stderr, flush=True)
            run = trio.run(partial(watched, short=options.short), way)
            runs[way].append(run)
            cells.append(Cell(number, "reload", way, Found(run.values(), None, 0)))
            for line in run.failed[:5]:
                print(line, file=sys.stderr)
    rows = summary(cells)["reload"]
    print(f"Python {where['python']}, {where['system']}, {where['cpus']} CPUs, load {where['load'][0]:.1f}")
    print(f"Median (minimum-maximum) of {options.rounds} rounds.")
    reloads = SHORT_RELOADS if options.short else RELOADS
    title = TITLE.format(callers=CALLERS, reloads=reloads, slots=SLOTS)
    print(table(title, rows[next(iter(WAYS))]["columns"], rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "measures": {"reload": rows}}, indent=1) + "\n")
    if options.picture:
        from bench.reload_picture import draw

        draw({way: typical(found) for way, found in runs.items()}, options.picture)
        print(f"\n{os.path.relpath(options.picture)} shows, of each, the run with the median p99.")
    found = [run for each in runs.values() for run in each]
    return int(any(run.failed or run.values()["fewest slots able"] != SLOTS for run in found))


def typical(runs: Sequence[Run]) -> Run:
    """The run whose p99 through reloads is the median."""
    return sorted(runs, key=lambda run: percentile(run.through(), 99))[len(runs) // 2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

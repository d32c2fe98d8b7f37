"""Run the benchmarks: ``python bench/run.py [--only calls,boot] [--peers trio_folk,anyio] [--json FILE]``.

The tables go to stdout, the progress to stderr. With ``--page`` the page of docs/ is written, its pictures and the JSON
beside it; with ``--compare REV`` the library of the working tree is measured beside that of a commit.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import compare, page, record
from bench.launch import adopt_orphans
from bench.machine import machine
from bench.peers import FLOORS, PEERS
from bench.record import Record
from bench.report import Cell, table
from bench.rounds import module_of, run, schedule

MEASURES = (
    *("calls", "callers", "curve", "mixed", "maps", "large", "bandwidth"),
    *("boot", "births", "stall", "cancel", "death", "dispatch", "slots", "crowd"),
    "telemetry",
)
SHORT_MEASURES = ("calls", "callers", "boot", "births", "stall", "cancel", "death", "dispatch", "maps")

_USUAL = page.PAGE.with_suffix(".json")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; unknown names end it with the names that are known."""
    parser = argparse.ArgumentParser(description="Measure trio_folk beside its peers and the floors.")
    parser.add_argument("--only", metavar="A,B", help=f"some of {', '.join(MEASURES)}")
    parser.add_argument("--peers", metavar="A,B", help="some of the peers; trio_folk means all its ways in")
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each is measured: 5 (3 of what takes long), 7 to compare, 1 with --short",
    )
    parser.add_argument("--short", action="store_true", help="a sample in seconds, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there too")
    parser.add_argument("--compare", metavar="REV", help="measure trio_folk beside itself at this commit")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        nargs="?",
        const=page.PAGE,
        help=f"write a page with pictures, and the JSON beside it; {page.PAGE.name} of the docs",
    )
    parser.add_argument(
        "--from",
        dest="record",
        type=Path,
        metavar="JSON",
        help="measure nothing: show what was recorded there",
    )
    options = parser.parse_args(argv)
    usual = SHORT_MEASURES if options.short else MEASURES
    options.measures = options.only.split(",") if options.only else list(usual)
    usual_peers = compare.OURS if options.compare else list(PEERS)
    asked = options.peers.split(",") if options.peers else usual_peers
    if unknown := sorted({*options.measures} - {*MEASURES} | {*asked} - {*PEERS}):
        known = f"measures are {', '.join(MEASURES)}; peers are {', '.join(PEERS)}"
        parser.error(f"unknown: {', '.join(unknown)} ({known})")
    options.names = _peers(asked, floors=not options.compare)
    options.sparing = not (options.rounds or options.compare)
    options.rounds = options.rounds or (1 if options.short else 7 if options.compare else 5)
    if options.page and not options.json:
        options.json = options.page.with_suffix(".json")
    return options


def _peers(asked: Sequence[str], *, floors: bool) -> list[str]:
    """The names asked for, in the order of the table; the floors come along, for the ratios need them."""
    chosen = [name for name in PEERS if name in asked or name.partition(".")[0] in asked]
    return [name for name in PEERS if name in chosen or (floors and name in FLOORS)]


def measured(options: argparse.Namespace, argv: Sequence[str]) -> Record:
    """Measure everything; what is found is written down after each round, lest it be lost."""
    command = f"python bench/run.py {shlex.join(argv)}".strip()
    cells: list[Cell] = []
    found = Record(command, machine(), options.rounds, options.short, cells)
    planned = schedule(options.measures, options.names, options.rounds, sparing=options.sparing)
    try:
        for cell in run(planned, short=options.short, usual=record.seconds_of(_USUAL)):
            if options.json and cells and cell.round > cells[-1].round:
                found.write(options.json)
            cells.append(cell)
    finally:
        if options.json:
            found.write(options.json)
    return found


def show(found: Record) -> None:
    """Print where it was measured, and a table for each measure."""
    where = found.machine
    print(f"Python {where['python']}, {where['system']}, {where['cpus']} CPUs, load {where['load'][0]:.1f}")
    print(", ".join(f"{name} {version}" for name, version in where["versions"].items()))
    kind = "short samples, only to see that it runs" if found.short else "interleaved"
    print(f"Median (minimum-maximum) of {found.rounds} rounds, {kind}.")
    for measure, rows in found.measures.items():
        module = module_of(measure)
        ordered = {name: rows[name] for name in PEERS if name in rows}
        print(table(f"{measure}: {module.TITLE}", module.COLUMNS, ordered))


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 when a cell failed."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running cell is ended too
    adopt_orphans()
    if options.compare:
        return compare.main(options)
    found = record.read(options.record) if options.record else measured(options, argv)
    show(found)
    if options.page:
        print(*("", *page.write(found, options.page)), sep="\n")
    return int(any(cell.found.error is not None for cell in found.cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""cancels: how long it takes from a cancellation to whatever must follow it, at each stage that a call can be in.

Run ``python bench/cancels.py``: it prints tables to paste. The peers have one stage only, which `bench/run.py cancel`
measures beside ours; here forked and spawned workers stand side by side.

Knows cells, tables and files. Does not know how a cell is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cancels_run import (
    AIMS,
    CALLERS,
    GRACE,
    SLOTS,
    TERMINATE_GRACE,
    WAYS,
    WITHDRAWN,
    cooperative,
    next_answer,
    stubborn,
    throughput,
)
from bench.cancels_worker import C_CALL
from bench.interface import Values
from bench.launch import Found
from bench.machine import machine
from bench.report import Cell, summary, table

TITLES = {
    "next answer": "cancel_grace=0: cancel a running `while True`, to the next answer of the only slot; ms",
    "listens": f"a job that listens, to its caller's going on; ms (calls of C code take {C_CALL * 1e3:g} ms)",
    "does not": f"a job that does not listen, from the end of cancel_grace ({GRACE:g} s); ms",
    "withdrawn": f"{CALLERS} callers of short calls on {SLOTS} slots; one more in {WITHDRAWN} cancelled in the queue",
}
LISTENING = {
    "async method": ("eager", "sleeps"),
    "sync, looks each ms": ("sync", "looks_between_sleeps"),
    "sync, in a thread": ("eager", "looks_between_sleeps"),
    "sync, looks at each turn of a loop": ("sync", "looks_in_a_loop"),
    "sync, looks after C code that holds the GIL": ("sync", "looks_after_c"),
    "async, beside C code that holds the GIL": ("eager", "waits_beside_c"),
}
STUBBORN = {
    "Python loop": "loops_with_a_child",
    "C code that holds the GIL": "stays_in_c",
    f"the same, with a SIGTERM handler and terminate_grace={TERMINATE_GRACE:g}": "stays_in_c_with_a_handler",
}

Measure = Callable[..., Awaitable[Values]]


def cells() -> dict[tuple[str, str], Measure]:
    """What is measured, by table and row."""
    found: dict[tuple[str, str], Measure] = {}
    for way in WAYS:
        found["next answer", way] = partial(next_answer, way, spares=0)
        found["next answer", f"{way}, with a spare"] = partial(next_answer, way, spares=1)
    for row, (target, method) in LISTENING.items():
        found["listens", row] = partial(cooperative, "spawned", target, method)
    for row, method in STUBBORN.items():
        for way in WAYS:
            found["does not", f"{row}, {way}"] = partial(stubborn, way, method)
    for way in WAYS:
        found["withdrawn", way] = partial(throughput, way)
    return found


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Latencies of cancellation.")
    parser.add_argument("--rounds", type=int, help="how often each is measured: 5, or 1 with --short")
    parser.add_argument("--short", action="store_true", help="a sample in seconds, to see that it runs")
    parser.add_argument("--only", choices=[*TITLES], help="one of the tables")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there too")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (1 if options.short else 5)
    return options


def main(argv: Sequence[str]) -> int:
    """Measure and print; 1 when something failed, or a withdrawn call ran."""
    options = arguments(argv)
    where = machine()
    done: list[Cell] = []
    for number in range(1, options.rounds + 1):
        for (name, row), measure in cells().items():
            if options.only in (None, name):
                print(f"round {number}: {name}: {row}", file=sys.stderr, flush=True)
                done.append(Cell(number, name, row, _measured(partial(measure, short=options.short))))
    found = summary(done)
    print(f"Python {where['python']}, {where['system']}, {where['cpus']} CPUs, load {where['load'][0]:.1f}")
    print(f"Median (minimum-maximum) of {options.rounds} rounds.")
    for name, rows in found.items():
        print(table(TITLES[name], next(iter(rows.values()))["columns"], rows))
    print("\nAims: " + ", ".join(f"{way} {aim:g} ms" for way, aim in AIMS.items()) + "; death 5 ms.")
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "measures": found}, indent=1) + "\n")
    return int(any(cell.found.error or _ran(cell) for cell in done))


def _measured(measure: Measure) -> Found:
    try:
        return Found(trio.run(measure), None, 0)
    except Exception as error:
        return Found(None, f"{type(error).__name__}: {error}", 0)


def _ran(cell: Cell) -> bool:
    return bool(cell.found.values and cell.found.values.get("of those ran"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

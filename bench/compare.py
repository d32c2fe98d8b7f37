"""compare: the library of the working tree beside that of a commit, by the same benchmarks, cell by cell in one run.

Two runs one after the other compare two minutes of a machine. Here each cell is measured twice running, once with each
library, and each round begins with the other one; what counts is the ratio of such neighbours.

Invariants
    1. The benchmarks are those of the working tree, both times: only `trio_folk` differs.
    2. The commit's files are gone afterwards, whatever happens, and git knows of no worktree of ours.
    3. "faster" and "slower" are said only where every round says so.

Knows git and cells. Does not know what a cell measures.
"""

from __future__ import annotations

import argparse
import compileall
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from bench.launch import ROOT, run_cell
from bench.machine import revision
from bench.peers import PEERS
from bench.report import Cell, aligned, with_spread
from bench.rounds import LIMIT, SHORT_LIMIT, module_of, schedule

OURS = [name for name in PEERS if name.startswith("trio_folk")]
FEWEST = 5  # rounds, for anything but noise
MATTERS = 0.05  # a smaller change of the median is called noise, even if every round agrees


@attrs.frozen
class Change:
    """One number of one peer: how it was, how it is, and the ratio of both in each round."""

    measure: str
    peer: str
    column: str
    before: Sequence[float]
    after: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """After by before; none where there was nothing before."""
        return [new / old for old, new in zip(self.before, self.after, strict=True) if old]

    def verdict(self) -> str:
        """In one or two words."""
        if [*self.before] == [*self.after]:
            return "the same"
        gains = [
            ratio if more_is_better(self.measure, self.column) else 1 / ratio
            for ratio in self.ratios
            if ratio
        ]
        if len(gains) < FEWEST:
            return "too few rounds"
        gain = statistics.median(gains)
        if min(gains) > 1 and gain > 1 + MATTERS:
            return "faster"
        if max(gains) < 1 and gain < 1 - MATTERS:
            return "slower"
        return "within noise"

    def row(self) -> list[str]:
        """For the table."""
        texts = [_spread(each) for each in (self.before, self.after, self.ratios)]
        return [self.measure, self.peer, self.column, *texts, self.verdict()]


def more_is_better(measure: str, column: str) -> bool:
    """Rates are; times, memory and losses are not."""
    module = module_of(measure)
    if rates := getattr(module, "RATES", None):
        return column in rates
    return "/s" in column or "per second" in module.TITLE


def main(options: argparse.Namespace) -> int:
    """Measure and report; 1 when a cell failed."""
    with checked_out(options.compare) as root:
        name = revision(ROOT, options.compare)
        before, after = measured(options, root, name)
    print(f"trio_folk at {name} and in the working tree, which is {revision()}; {options.rounds} rounds.")
    print("Median (minimum-maximum); a ratio is taken inside a round, after by before.\n")
    heading = ["measure", "peer", "column", name, "now", "ratio", "verdict"]
    print(*aligned([heading, *(change.row() for change in changes(before, after))]), sep="\n")
    failed = [cell for cell in (*before, *after) if cell.found.error is not None]
    for cell in failed:
        where = "now" if cell in after else name
        print(f"  {where}: {cell.measure}, {cell.peer} failed in round {cell.round}: {cell.found.error}")
    return int(bool(failed))


def measured(options: argparse.Namespace, root: Path, name: str) -> tuple[list[Cell], list[Cell]]:
    """Every cell with both libraries, one after the other; which is first changes with each round."""
    found: dict[Path, list[Cell]] = {root: [], ROOT: []}
    limit = SHORT_LIMIT if options.short else LIMIT
    planned = schedule(options.measures, options.names, options.rounds)
    for number, (round_, measure, peer) in enumerate(planned, 1):
        print(f"[{number}/{len(planned)}] round {round_}: {measure}, {peer}", file=sys.stderr, flush=True)
        for folder in (root, ROOT) if round_ % 2 else (ROOT, root):
            cell = run_cell(f"bench.{measure}", PEERS[peer], limit=limit, short=options.short, root=folder)
            found[folder].append(Cell(round_, measure, peer, cell))
    return found[root], found[ROOT]


def changes(before: Sequence[Cell], after: Sequence[Cell]) -> list[Change]:
    """Every number that both have, of the rounds in which both have it."""
    pairs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for old, new in zip(before, after, strict=True):
        was, is_ = old.found.values or {}, new.found.values or {}
        for column in was.keys() & is_.keys():
            values = was[column], is_[column]
            if not any(isinstance(value, str) for value in values):
                pairs.setdefault((old.measure, old.peer, column), []).append(
                    (float(values[0]), float(values[1]))
                )
    found = [Change(*key, *zip(*both, strict=True)) for key, both in pairs.items()]
    return sorted(found, key=lambda change: _place(change, before))


def _place(change: Change, cells: Sequence[Cell]) -> tuple[int, int, int]:
    measures = list(dict.fromkeys(cell.measure for cell in cells))
    columns = module_of(change.measure).COLUMNS
    place = columns.index(change.column) if change.column in columns else len(columns)
    return (
        measures.index(change.measure),
        OURS.index(change.peer) if change.peer in OURS else len(OURS),
        place,
    )


@contextmanager
def checked_out(name: str) -> Iterator[Path]:
    """A folder with the `trio_folk` of a commit and the `bench` of the working tree."""
    with tempfile.TemporaryDirectory(prefix="folk-compare-", ignore_cleanup_errors=True) as scratch:
        tree, root = Path(scratch, "tree"), Path(scratch, "root")
        try:
            _git("worktree", "add", "--quiet", "--detach", str(tree), name)
            root.mkdir()
            for package, home in (("trio_folk", tree), ("bench", ROOT)):
                (root / package).symlink_to(home / package, target_is_directory=True)
            _make_sure(root, tree)
            for folder in (tree, ROOT):  # else the first boot there would compile it all
                compileall.compile_dir(folder / "trio_folk", quiet=2)
            yield root
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, capture_output=True)


def _make_sure(root: Path, tree: Path) -> None:
    """That what is measured there is what was checked out."""
    command = [sys.executable, "-c", "import trio_folk; print(trio_folk.__file__)"]
    told = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if not Path(told).resolve().is_relative_to(tree.resolve()):
        sys.exit(f"cannot compare: in {root} trio_folk is imported from {told}")


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cannot compare: git {arguments[0]}: {done.stderr.strip()}")


def _spread(values: Sequence[float]) -> str:
    return with_spread(statistics.median(values), min(values), max(values)) if values else "-"

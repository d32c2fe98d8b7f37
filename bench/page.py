"""The page: docs/benchmarks.md with its pictures, from the record of a run.

Numbers that somebody copied into prose are old and nobody knows from where. Here nothing is written by hand but
what the tables mean.

Knows a record and Markdown. Does not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import PEERS
from bench.record import Record
from bench.report import notes_on, table_of
from bench.rounds import module_of
from bench.targets import targets_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

_HEAD = """\
# Benchmarks

`nox -s bench` has written this page, its pictures and {json}, which holds every number of every round. Run it
on an idle machine of your own, where it takes some {minutes:.0f} min; the ratios are what to look at. With
`nox -s bench -- --compare REV` your working tree is measured beside a commit.

Each number is the median of all rounds, with their minimum and maximum: {rounds} rounds here, or fewer of what takes
long. Each cell of a table is a process of its own, and in each round everything is measured of everybody, in turn. A
ratio is taken inside a round. How it is done, and what has each library at its best: {{doc}}`design/bench`.
"""
_TARGETS = """
## What must hold

Held against the bounds that were set before it was built. The best peer is the best of that round, in that column.
"""


def write(record: Record, page: Path) -> list[Path]:
    """Write the page, then the pictures; all files that were written."""
    from bench.pictures import draw_all

    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = page.parent / "pictures"
    drawn = draw_all(record.measures, pictures)
    page.write_text("\n".join(_lines(record, page.with_suffix(".json").name, drawn)) + "\n")
    return [page, *(pictures / file for file in drawn)]


def _lines(record: Record, json: str, drawn: dict[str, str]) -> Iterator[str]:
    yield _HEAD.format(json=f"`{json}`", minutes=max(1, record.seconds / 60), rounds=record.rounds).rstrip()
    if record.short:
        yield "\n**Short samples, only to see that it runs: these numbers mean nothing.**"
    yield from _where(record)
    yield _TARGETS
    yield from targets_table(record.cells)
    yield "\n## Pictures\n"
    yield "A line is the median, the field around it goes from minimum to maximum."
    for file, words in drawn.items():
        yield f"\n![{words}](pictures/{file})"
    yield "\n## Tables"
    for measure, rows in record.measures.items():
        yield from _table(measure, rows)


def _table(measure: str, rows: dict[str, Any]) -> Iterator[str]:
    module = module_of(measure)
    ordered = {name: rows[name] for name in PEERS if name in rows}
    name, _, said = (module.__doc__ or f"{measure}:").splitlines()[0].partition(": ")
    yield f"\n### {name}\n\n{said[:1].upper()}{said[1:]}\n\n{module.TITLE}:\n"
    yield from table_of(module.COLUMNS, ordered)
    if notes := notes_on(ordered):
        yield "\n".join(["\n```text", *notes, "```"])


def _where(record: Record) -> Iterator[str]:
    machine = record.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield (
        f"\nMeasured on {machine['date']}, trio_folk at {machine['revision']}: Python {machine['python']}, "
        f"{machine['system']}, {machine['cpus']} CPUs ({machine['processor']}), load {machine['load'][0]:.1f} "
        f"at the beginning; {versions}. Command: `{record.command}`."
    )

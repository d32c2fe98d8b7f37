"""The picture of ``trio-folk top``: a board, drawn for a terminal of any width from 60 columns on.

What a narrow terminal has no room for is left out from the right of a list, and never wrapped: a table whose rows move
cannot be watched.

Knows rich's tables and the board. Does not know when it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from .admin_lines import last_end, state_of
from .amounts import bytes_in_words, pace, seconds, sparkline
from .rich_names import Group, Table, Text
from .top_board import Board, Pool, Program

__all__ = ["picture"]

_LABEL = 9  # columns before a sparkline
_ROOM = 8  # lines of a pool that are not slots
_COLOURS = {
    "BUSY": "green",
    "IDLE": "",
    "SPAWNING": "cyan",
    "STOPPING": "yellow",
    "EMPTY": "dim",
    "FAILED": "bold red",
}


@attrs.frozen
class _Column:
    """A column of the table of slots, and the terminal's width from which on it is shown."""

    head: str
    least: int
    word: Callable[[Pool, dict[str, Any]], str]
    right: bool = True


_COLUMNS = (
    _Column("slot", 0, lambda pool, slot: str(slot["number"])),
    _Column("state", 0, lambda pool, slot: slot["state"], right=False),
    _Column("worker", 110, lambda pool, slot: slot["worker"] or "-", right=False),
    _Column("pid", 0, lambda pool, slot: str(slot["pid"] or "-")),
    _Column("gen", 80, lambda pool, slot: "-" if slot["generation"] is None else str(slot["generation"])),
    _Column("age", 90, lambda pool, slot: seconds(slot["age"]) if slot["worker"] else "-"),
    _Column("jobs", 70, lambda pool, slot: f"{slot['jobs']:,}"),
    _Column("rate", 0, lambda pool, slot: pace(pool.slot_rates.get(slot["number"]))),
    _Column("memory", 0, lambda pool, slot: bytes_in_words(slot["memory"])),
)


def picture(board: Board, width: int, height: int, hint: str) -> Group:
    """All of it, for a terminal of this size; the hint says which keys there are."""
    pools = sum(len(program.pools) for program in board.programs.values())
    slots = max((height - 2) // max(pools, 1) - _ROOM, 1)
    parts: list[Text | Table] = []
    for program in board.programs.values():
        if program.trouble is not None:
            parts.append(_line(f"{program.trouble}: {program.path}", width, "bold red"))
        for name, pool in program.pools.items():
            parts += _pool(program, name, pool, width, slots)
    if not parts:
        parts.append(_line("no program serves a pool here; waiting for one", width, "yellow"))
    return Group(*parts, _line(hint, width, "dim"))


def _line(text: str, width: int, style: str = "") -> Text:
    shown = text if len(text) <= width else f"{text[: width - 1]}…"
    return Text(shown, style=style, no_wrap=True)


def _pool(program: Program, name: str, pool: Pool, width: int, slots: int) -> list[Text | Table]:
    sample = pool.sample
    head = f"{name}  pid {program.pid}  {state_of(sample)}  {sample['ready']} of {sample['wanted']} ready"
    work = (
        f"running {sample['running']}  waiting {sample['queued'] + sample['held']}  ended {_ended(sample):,}"
    )
    more = f"generation {sample['generation']}  deaths {sample['deaths']}  recycled {sample['recycled']}"
    trouble = f"failed {sample['failed']}  timeouts {sample['exec_timeouts']}  lost {sample['died']}"
    lines: list[Text | Table] = [_line(head, width, "bold")]
    lines += [_line(each, width) for each in _joined((work, trouble, more), width)]
    lines.append(_trace("rate", list(pool.rates), pace(sample["rate"]), width))
    latency = f"~{seconds(sample['latency'])}" if sample["latency"] is not None else "-"
    lines.append(
        _trace("latency", list(pool.latencies), f"{latency}, waited {seconds(sample['wait'])}", width)
    )
    lines.append(_slots(pool, width, slots))
    hidden = len(sample["slots"]) - slots
    if hidden > 0:
        lines.append(_line(f"{hidden} more slots", width, "dim"))
    return [*lines, Text("")]


def _ended(sample: dict[str, Any]) -> int:
    count: int = sum(sample[name] for name in ("succeeded", "failed", "cancelled", "exec_timeouts", "died"))
    return count


def _joined(parts: tuple[str, ...], width: int) -> list[str]:
    """As few lines as they need."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def _trace(label: str, values: list[float | None], now: str, width: int) -> Text:
    room = max(width - _LABEL - len(now) - 2, 1)
    return _line(f"{label:<{_LABEL}}{sparkline(values, room)}  {now}", width, "cyan")


def _slots(pool: Pool, width: int, most: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), width=width, header_style="dim")
    columns = [column for column in _COLUMNS if width >= column.least]
    for column in columns:
        table.add_column(column.head, justify="right" if column.right else "left", no_wrap=True)
    table.add_column("last end", no_wrap=True, ratio=1, overflow="ellipsis")
    for slot in pool.sample["slots"][:most]:
        words = [Text(column.word(pool, slot)) for column in columns]
        words[1].stylize(_COLOURS.get(slot["state"], ""))
        table.add_row(*words, _last(slot))
    return table


def _last(slot: dict[str, Any]) -> Text:
    """Why it has no worker, or how the last one ended; what was planned is of less interest."""
    if slot["worker"] is None and slot["failure"]:
        return Text(slot["failure"].partition("\n")[0], style="red")
    planned = slot["last_end"] is not None and slot["last_end"]["planned"]
    return Text(last_end(slot).partition("\n")[0], style="dim" if planned else "red")

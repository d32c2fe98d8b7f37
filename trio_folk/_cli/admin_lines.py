"""What an admin socket tells, in lines for people.

Knows the records. Does not know where they come from.
"""

from __future__ import annotations

from typing import Any

from .amounts import bytes_in_words, seconds
from .rows import aligned

__all__ = ["event_line", "last_end", "overview_lines", "reload_lines", "state_of", "statistics_lines"]

_POOLS = ("pool", "pid", "state", "slots", "wanted", "ready", "running", "queued", "generation", "socket")
_SLOTS = ("slot", "state", "worker", "pid", "generation", "running", "jobs", "age", "memory", "last end")


def overview_lines(told: dict[str, dict[str, Any]]) -> list[str]:
    """Programs and their pools, by socket; and what more than we may be called there."""
    rows = []
    own = []
    for path, program in told.items():
        for pool in program["pools"]:
            numbers = (
                str(pool[name]) for name in ("slots", "wanted", "ready", "running", "queued", "generation")
            )
            rows.append((pool["name"], str(program["pid"]), state_of(pool), *numbers, path))
        own += [f"{path} has {method}" for method in program["methods"] if not method.startswith("admin.")]
    return aligned(_POOLS, rows) + own


def statistics_lines(pools: list[dict[str, Any]]) -> list[str]:
    """Every number of each pool, then its slots."""
    lines = []
    for pool in pools:
        numbers = {
            name: value for name, value in pool.items() if isinstance(value, int) and name != "draining"
        }
        lines.append(f"{pool['name']}: {state_of(pool)}")
        lines.append("  " + "  ".join(f"{name} {value}" for name, value in numbers.items()))
        lines += [f"  {line}" for line in aligned(_SLOTS, map(_slot, pool["slots"]))]
    return lines


def _slot(slot: dict[str, Any]) -> tuple[str, ...]:
    """One slot, or why it has no worker."""
    last = slot["failure"] if slot["worker"] is None and slot["failure"] else last_end(slot)
    return (
        *(str(slot["number"]), slot["state"], slot["worker"] or "-", str(slot["pid"] or "-")),
        "-" if slot["generation"] is None else str(slot["generation"]),
        *(str(slot["running"]), str(slot["jobs"]), seconds(slot["age"]) if slot["worker"] else "-"),
        bytes_in_words(slot["memory"]),
        last.partition("\n")[0],
    )


def state_of(pool: dict[str, Any]) -> str:
    """What a pool is doing, in a word."""
    return "draining" if pool["draining"] else "open" if pool["ready"] else "no worker ready"


def last_end(slot: dict[str, Any]) -> str:
    """How the slot's last worker ended, and when."""
    end = slot["last_end"]
    if end is None:
        return ""
    reason = (end["reason"] or end["exit"] or "ended").removeprefix("it was ")  # short columns are full soon
    how = f" ({end['exit']})" if end["exit"] and not end["planned"] and end["exit"] not in reason else ""
    return f"{seconds(end['ago'])} ago: {reason}{how}"


def reload_lines(report: dict[str, Any]) -> list[str]:
    """Who was replaced by whom."""
    slots = [
        f"slot {slot['slot']}: {slot['old'] or 'none'} -> {slot['new'] or 'none yet'} in {seconds(slot['seconds'])}"
        for slot in report["slots"]
    ]
    left = [f"slots left alone: {', '.join(map(str, report['left']))}"] if report["left"] else []
    return [*slots, *left, f"generation {report['generation']} in {seconds(report['seconds'])}"]


def event_line(event: dict[str, Any]) -> str:
    """What happened, in one line; the time is the program's own, in seconds."""
    ended = event["exit"]
    how = (
        "" if ended is None else f" [{ended['signal'] or ended['detail'] or 'status ' + str(ended['code'])}]"
    )
    lost = f" ({event['dropped']} dropped so far)" if event["dropped"] else ""
    what = f"{event['time']:.3f}  {event['kind']:<11}  {event['worker'] or event['pool']}"
    return f"{what}  {(event['reason'] or '').partition(chr(10))[0]}{how}{lost}".rstrip()

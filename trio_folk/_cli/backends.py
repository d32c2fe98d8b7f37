"""``trio-folk backends``: the brokered backends of this user, as a table or as JSON.

Knows how they are shown. Does not know how they are found out.
"""

from __future__ import annotations

import json

import attrs
import trio

from ..broker import BackendStatus, clean_backends, list_backends

__all__ = ["backends"]

_HEADS = ("service", "version", "pid", "state", "uptime", "connections", "endpoint")
_BAD = ("stale", "silent")


def backends(directory: str | None, *, json_wanted: bool, clean: bool) -> int:
    """Show them; 1 if some are stale or silent."""
    cleaned = clean_backends(directory) if clean else []
    found = trio.run(list_backends, directory)
    if json_wanted:
        told = {"backends": [attrs.asdict(each) for each in found], "cleaned": cleaned}
        print(json.dumps(told, indent=2))
    else:
        _show(found, cleaned)
    return int(any(each.state in _BAD for each in found))


def _show(found: list[BackendStatus], cleaned: list[str]) -> None:
    rows = [_HEADS, *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows if found else []:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        print("no backends")
    for name in cleaned:
        print(f"removed what was left of {name}")


def _row(status: BackendStatus) -> tuple[str, ...]:
    uptime = "-" if status.uptime is None else _duration(status.uptime)
    connections = "-" if status.connections is None else str(status.connections)
    pid = "-" if status.pid is None else str(status.pid)
    return (status.service, status.version, pid, status.state, uptime, connections, status.endpoint)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

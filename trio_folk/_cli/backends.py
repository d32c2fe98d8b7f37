"""``trio-folk backends``: the brokered backends of this user, as a table or as JSON.

Knows how they are shown. Does not know how they are found out.
"""

from __future__ import annotations

import json

import attrs
import trio

from ..broker import BackendStatus, clean_backends, list_backends
from .amounts import seconds
from .rows import aligned

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
    for line in aligned(_HEADS, map(_row, found)):
        print(line)
    if not found:
        print("no backends")
    for name in cleaned:
        print(f"removed what was left of {name}")


def _row(status: BackendStatus) -> tuple[str, ...]:
    uptime = seconds(status.uptime)
    connections = "-" if status.connections is None else str(status.connections)
    pid = "-" if status.pid is None else str(status.pid)
    return (status.service, status.version, pid, status.state, uptime, connections, status.endpoint)

"""Watching: whoever saves a file has its code served a moment later, and a mistake in it stops nothing.

Invariants
    1. What changes once it has started is followed by a reload that begins after it.
    2. What changes while a reload runs leads to one further reload.
    3. A reload that fails is logged, with what to do; the old code serves, and the next change is tried again.
    4. A worker that imports a changed module compiles it, and does not trust what was compiled before.

Knows changes of files and how a reload ends. Does not know how either is done.
Picture: docs/design/watch.md
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from .._errors import PoolClosed, ReloadFailed
from .changes import StrPath, open_changes
from .reports import ReloadReport

__all__ = ["DEBOUNCE", "StrPath", "forget_compiled", "named", "watch"]

DEBOUNCE = 0.3
"""Seconds in which nothing changes before a reload begins, as Folk has it."""
_NAMED = 3  # files that are named when more have changed

_DONE = "%s changed: pool %r has generation %d after %.2f s"
_FAILED = """%s changed, and the reload of pool %r failed: %s
  remedy: mend it and save again; the files are still watched, and calls go on meanwhile"""

_log = logging.getLogger("trio_folk")


async def watch(
    pool: str,
    reload: Callable[[], Awaitable[ReloadReport]],
    paths: Sequence[StrPath],
    debounce: float,
    task_status: trio.TaskStatus[None],
) -> None:
    """Reload whenever files have changed, until cancelled, or until there is no pool any more."""
    if not 0 <= debounce < math.inf:
        raise ValueError(f"debounce is 0 seconds or more, not {debounce!r}")
    async with open_changes(*paths) as changes:
        task_status.started()
        while True:
            changed = await changes.settle(debounce)
            forget_compiled(changed)
            try:
                report = await reload()
            except PoolClosed:
                return
            except ReloadFailed as error:
                _log.error(_FAILED, named(changed), pool, str(error).rstrip())
            else:
                _log.info(_DONE, named(changed), pool, report.generation, report.seconds)


def named(changed: Sequence[str]) -> str:
    """The first files by name, seen from here, and how many more there are."""
    names = [min(os.path.relpath(path), path, key=len) for path in changed[:_NAMED]]
    more = len(changed) - _NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def forget_compiled(changed: Iterable[str]) -> None:
    """Remove what was compiled of these files, for every Python.

    It is out of date, and Python may not notice: it compares the size and the whole second of the last change.
    """
    for path in changed:
        if path.endswith(".py"):
            with suppress(OSError, NotImplementedError):
                folder = Path(importlib.util.cache_from_source(path)).parent
                for compiled in folder.glob(f"{Path(path).stem}.*.pyc"):
                    compiled.unlink(missing_ok=True)

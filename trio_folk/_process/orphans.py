"""Processes that did not end when they were killed: kept by pid, and tried again at each later launch.

A process in uninterruptible sleep (a dead network file system, a broken disk) dies when the kernel lets it,
and nobody can wait for that. Forgotten, it would stay a zombie afterwards.

Knows pids. Does not wait.
"""

from __future__ import annotations

import logging
import threading

from . import exits

__all__ = ["adopt", "reap_ended", "waiting"]

_log = logging.getLogger("trio_folk.process")
_lock = threading.Lock()  # two threads may each run a trio of their own; a pid must not be reaped by both
_pids: set[int] = set()


def adopt(pid: int) -> None:
    """Own this child from now on: it was killed and has not ended."""
    with _lock:
        _pids.add(pid)
    _log.error(
        "process %d has not ended although it was killed (uninterruptible sleep?); a later launch reaps it",
        pid,
    )


def reap_ended() -> None:
    """Reap those that have ended meanwhile. Never blocks."""
    with _lock:
        _pids.difference_update([pid for pid in _pids if exits.reap(pid)])


def waiting() -> frozenset[int]:
    """The pids that have not ended yet."""
    with _lock:
        return frozenset(_pids)

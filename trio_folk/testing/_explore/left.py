"""What a run has left behind, seen from outside ``trio.run``.

Looked at twice: first while the run's exception is kept alive, for its frames hold what was not closed; then
after a collection of garbage. What only the collector closed is a leak too, and is called so.

Invariants
    1. What is just ending is waited for, but only if something is left.
    2. Processes are looked for only where one was started: to read all of /proc costs more than a run.

What does not work
    Looking inside ``trio.run``: the loop's own descriptors are there.
    Closing what is left: by then its number may belong to somebody else.

Knows stock. Does not know runs.
"""

from __future__ import annotations

import gc
import os
import resource
import time
import warnings
from collections.abc import Callable, Hashable

from .._stock import Stock

__all__ = ["Stocktaker"]

_PAUSE = 0.01  # seconds
_LAUNCHES = "ru_minflt"  # grows whenever a child is reaped, for no process starts without a page fault


class Stocktaker:
    """Compares before and after, run by run.

    Args:
        settle: how many real seconds what is ending has to end.
        garbage: whether to collect garbage after every run, and to report what it finds.
    """

    def __init__(self, settle: float, garbage: bool) -> None:
        self._settle = settle
        self._garbage = garbage
        self._reaped = -1
        self._everyone: frozenset[Hashable] = frozenset()
        self._before = Stock(frozenset(), {})

    def begin(self) -> None:
        """A run begins."""
        if self._launched():
            self._everyone, self._reaped = Stock.take(tasks=False).seen, _reaped()
        now = Stock.take(tasks=False, processes=False)
        self._before = Stock(now.seen | self._everyone, now.ours)

    def left(self) -> list[str]:
        """What is there now that was not; waits while there is anything."""
        end = time.monotonic() + self._settle
        left = self._new()
        while left and time.monotonic() < end:
            time.sleep(_PAUSE)
            left = self._new()
        return left

    def let_go(self, left: list[str], forget: Callable[[], None]) -> list[str]:
        """What is left when the run's exceptions are forgotten too, each thing with what became of it."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            forget()
            if not left and not self._garbage:
                return []
            gc.collect()
        still = self._new()
        found = [name if name in still else f"{name} (closed by the garbage collector only)" for name in left]
        if self._garbage:
            found += [f"garbage: {each.message}" for each in told]
        return found

    def _new(self) -> list[str]:
        return Stock.take(tasks=False, processes=self._launched()).new_since(self._before)

    def _launched(self) -> bool:
        return _reaped() != self._reaped or _children()


def _children() -> bool:
    """Whether this process has a child, dead or alive."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reaped() -> int:
    return int(getattr(resource.getrusage(resource.RUSAGE_CHILDREN), _LAUNCHES))

"""The breaker: ends a trio run that would not end by itself, and says where its tasks were.

A test that hangs says nothing; a killed one says little more. From another thread one can still ask the loop to
show its tasks, and then cancel all of them, shields and all.

Invariants
    1. The tree is taken in the loop's own thread, before anything is cancelled.
    2. Scopes that are opened while the run is being broken are cancelled too, as long as it lasts.
    3. Where nothing helps, as with a thread that never returns, ``trio.run`` itself is left: its tasks are lost.

Knows a run from another thread. Does not know why it is to end.
"""

from __future__ import annotations

import gc
import math
import sys
import time
import warnings

from ._explore import privates
from ._where import TaskTree

__all__ = ["Breaker"]

_REASON = "this run took too long"
_PAUSE = 0.2  # seconds between two waves of cancellation
_PATIENCE = 2.0  # seconds; then the run is abandoned


class Breaker:
    """Breaks one run; driven by a thread that is not the run's.

    Attributes:
        tree: the tasks before they were cancelled; None until the loop has answered.
        abandoned: whether the run had to be left.
        loop: the run.
    """

    def __init__(self, loop: privates.Loop) -> None:
        self.tree: TaskTree | None = None
        self.abandoned = False
        self.loop = loop
        self._begun = time.monotonic()
        self._next = 0.0

    def push(self) -> None:
        """Do what is due now; call it again and again until the run has ended."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PAUSE
        self.abandoned = now - self._begun > _PATIENCE
        if not self.loop.call_soon(self._abandon if self.abandoned else self._cancel):
            self._next = math.inf

    def bury(self) -> None:
        """Clear away what is left of an abandoned run, in silence; call it when ``trio.run`` was left."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.loop.bury()
                gc.collect()
        finally:
            sys.unraisablehook = hook

    def _cancel(self) -> None:
        if self.tree is None:
            self.tree = TaskTree.capture()
        self.loop.cancel_all(_REASON)

    def _abandon(self) -> None:
        self.loop.abandon()

"""The watchman: a thread that finds runs which hang, and has them broken.

A deadlock shows at once: no task can run, none waits for a descriptor, no deadline will come, no thread is busy.
Everything else that does not end is found by a bound in real time.

Invariants
    1. Nothing is called a deadlock before the cancellation: what a signal would wake is given its time then.
    2. The watchman is there before stock is taken, and gone after the exploration.

Knows runs and time. Does not know what is explored.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from .._breaker import Breaker
from .._stock import Stock
from . import privates
from .strike import Strike
from .watch import Watch

__all__ = ["Watchman"]

_ROUND = 0.05  # seconds
_QUIET = 0.25  # seconds that a deadlock must last
_LEAVE = 10.0  # seconds for the thread to end


class Watchman:
    """Watches one run after the other: ``with Watchman(10.0) as watchman: ...``.

    Args:
        patience: how many real seconds a run may take.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._begun = 0.0
        self._threads: frozenset[str] = frozenset()
        self._breaker: Breaker | None = None
        self._loop: privates.Loop | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="trio_folk watchman", daemon=True)

    def __enter__(self) -> Watchman:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_LEAVE)

    def begin(self, watch: Watch) -> None:
        """The run that this thread is in begins; call it inside."""
        with self._lock:
            self._watch, self._loop = watch, privates.Loop.in_thread(threading.get_ident())
            self._begun, self._threads, self._breaker = time.monotonic(), Stock.threads(), None

    def end(self) -> Breaker | None:
        """The run has ended; what broke it, if it was broken."""
        with self._lock:
            self._watch = self._loop = None
            breaker, self._breaker = self._breaker, None
            return breaker

    def _rounds(self) -> None:
        while not self._stop.wait(_ROUND):
            with self._lock:
                if self._watch is not None and self._loop is not None:
                    self._look(self._watch, self._loop)

    def _look(self, watch: Watch, loop: privates.Loop) -> None:
        now = time.monotonic()
        if self._breaker is None and (now - self._begun > self._patience or self._is_deadlock(watch, now)):
            self._breaker = Breaker(loop)
        if self._breaker is not None:
            self._breaker.push()

    def _is_deadlock(self, watch: Watch, now: float) -> bool:
        since = watch.idle_since
        if since is None or now - since < _QUIET or not (isinstance(watch, Strike) and watch.struck):
            return False
        return Stock.threads() <= self._threads

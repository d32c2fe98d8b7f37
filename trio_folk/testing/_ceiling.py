"""The ceiling of a test: after so many seconds its tasks are shown, and it is ended.

Invariants
    1. A test that ends in time is not touched.
    2. What a test that was ended raises or returns does not count: it failed, for it took too long.

What does not work
    Ending code that does not come back to trio's loop. It is shown, and fails when it has ended.

Knows threads and breakers. Does not know pytest.
"""

from __future__ import annotations

import sys
import threading
import traceback
from types import TracebackType

from ._breaker import Breaker
from ._explore import privates

__all__ = ["Ceiling"]

_ROUND = 0.05  # seconds
_LEAVE = 10.0  # seconds for the thread to end


class Ceiling:
    """``with Ceiling(seconds) as ceiling:`` suppresses whatever leaves the block after its time was over.

    Attributes:
        report: what to say then; empty if the block ended in time.
    """

    def __init__(self, seconds: float) -> None:
        privates.check_trio()
        self.report = ""
        self._seconds = seconds
        self._ident = threading.get_ident()
        self._stop = threading.Event()
        self._breaker: Breaker | None = None
        self._thread = threading.Thread(target=self._wait, name="trio_folk ceiling", daemon=True)

    def __enter__(self) -> Ceiling:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stop.set()
        self._thread.join(_LEAVE)
        if self._breaker is not None and self._breaker.abandoned:
            self._breaker.bury()
        return bool(self.report)

    def _wait(self) -> None:
        if self._stop.wait(self._seconds):
            return
        title = self.report = f"the test took longer than {self._seconds:g} s"
        while not self._stop.wait(_ROUND):
            self._push()
            self._maybe_tell(title)
        self._maybe_tell(title)

    def _maybe_tell(self, title: str) -> None:
        if self.report == title and (text := self._where()):
            self.report = f"{title}\n{text}"
            print(self.report, file=sys.stderr, flush=True)

    def _push(self) -> None:
        loop = privates.Loop.in_thread(self._ident)
        if loop is not None and (self._breaker is None or self._breaker.loop.runner is not loop.runner):
            self._breaker = Breaker(loop)
        if self._breaker is not None:
            self._breaker.push()

    def _where(self) -> str:
        """The tasks, as soon as the loop has shown them; without a loop, the stack."""
        if self._breaker is not None and self._breaker.tree is not None:
            return f"its tasks:\n{self._breaker.tree}"
        if self._breaker is not None and not self._breaker.abandoned:
            return ""
        frame = sys._current_frames().get(self._ident)
        return "it is not in trio's loop but at\n" + "".join(traceback.format_stack(frame))

"""What the handles of all workers have in common whose lives a task runs: how their end is asked for, and told.

A worker ends in many ways at once: its process dies, a channel closes, a caller gives up, a clock runs out. Here all
of them become one thing: it is condemned, once, with the first reason, and the task of its life takes it down the
ladder.

Invariants
    1. The first reason stays; the rung only rises.
    2. Each means that was taken is told once, in order, with the seconds that it took.

Knows words and trio's clock. Does not know what a worker is made of, nor what becomes of its calls.
"""

from __future__ import annotations

from typing import TypeVar

import trio

from .._errors import FolkError
from ..abc import Birth, Rung, WorkerHandle

__all__ = ["Mortal"]

_Error = TypeVar("_Error", bound=FolkError)


class Mortal(WorkerHandle):
    """A worker from the moment that it was launched.

    Attributes:
        rung: from where it is to be ended.
    """

    def __init__(self, birth: Birth) -> None:
        self.id = birth.id
        self.generation = birth.generation
        self.condemned = trio.Event()
        self.ended = trio.Event()
        self.rung = Rung.STOP
        self._ladder = birth.ladder
        self._said = trio.Event()  # it is ready, or never will be
        self._ready = False
        self._rises = trio.Event()
        self._condemned_at = 0.0
        self._gone_at = 0.0
        self._stages: list[tuple[str, float]] = []  # what was tried to end it, and when that began

    @property
    def stages(self) -> tuple[tuple[str, float], ...]:
        moments = [*(began for _, began in self._stages), self._gone_at or trio.current_time()]
        return tuple(
            (name, end - began) for (name, began), end in zip(self._stages, moments[1:], strict=True)
        )

    def condemn(self, reason: str, rung: Rung = Rung.STOP) -> None:
        """Take no more calls. Unlike `terminate` it leaves those that run to their own end."""
        if not self.condemned.is_set():
            self.reason = reason
            self.rung = max(self.rung, rung)
            self._condemned_at = trio.current_time()
            self.condemned.set()
            self._said.set()

    def note_rung(self, rung: Rung) -> None:
        """This rung of its ladder is taken now."""
        if not self._stages or self._stages[-1][0] != rung.name:
            self._stages.append((rung.name, trio.current_time()))

    async def rises(self) -> None:
        """Return when a higher rung is asked for.

        A checkpoint. Cancellation leaves nothing behind.
        """
        await self._rises.wait()

    def _raise_to(self, rung: Rung) -> None:
        if rung > self.rung:
            self.rung = rung
            self._rises.set()
            self._rises = trio.Event()

    def _end_after_cancel(self, why: str, asked: float | None) -> None:
        """A call was left while it ran, and perhaps asked to end before: what state the worker is in, nobody knows."""
        reason = f"a call was left by {why} while it ran"
        if asked is not None:
            if not self._stages:
                self._stages.append(("cancel", asked))
            reason += f", and did not end within cancel_grace ({self._ladder.cancel:g} s)"
        self.terminate(reason, Rung.TERMINATE)

    def _named(self, error: _Error) -> _Error:
        error.worker = str(self.id)
        error.pid = self.pid
        error.generation = self.generation
        return error

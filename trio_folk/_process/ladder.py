"""Down the ladder: asked, told, killed, each with its own time, in this order.

A worker that is killed at once loses what it was doing; one that is only asked may never go.

Knows signals and times. Does not know what is closed when a worker is asked, nor why it is to end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

import trio

from ..abc import Ladder, Rung, WorkerExit

__all__ = ["Body", "descend"]


class Body(Protocol):
    """What can be waited for and signalled: a `Process`, or what stands in for one."""

    @property
    def exit(self) -> WorkerExit | None:
        """How it ended, or None while it runs."""
        ...

    async def wait(self) -> WorkerExit:
        """Return when it has ended, and how."""
        ...

    def signal_group(self, sig: int) -> None:
        """Signal it and its children; nothing happens once it is gone."""
        ...


async def descend(
    body: Body,
    ladder: Ladder,
    start: Rung,
    stop: Callable[[], object],
    note: Callable[[Rung], object] = lambda rung: None,
) -> WorkerExit | None:
    """Take a process down its ladder from a rung on; return how it ended as soon as it has.

    Args:
        body: what is to end.
        ladder: how long it is given on each rung.
        start: the first rung.
        stop: what asks it to end, on `Rung.STOP`.
        note: told each rung as it is taken.

    Returns:
        How it ended, or None when even SIGKILL did not end it within ``ladder.kill``.

    Always a checkpoint. Cancellation leaves the process on the rung it was on; who must see it end, shields.
    """
    times = {Rung.STOP: ladder.stop, Rung.TERMINATE: ladder.terminate, Rung.KILL: ladder.kill}
    await trio.lowlevel.checkpoint()
    for rung in Rung:
        if rung < start:
            continue
        if body.exit is not None:
            break
        note(rung)
        _take(body, rung, stop)
        with trio.move_on_after(times[rung]):
            return await body.wait()
    return body.exit


def _take(body: Body, rung: Rung, stop: Callable[[], object]) -> None:
    match rung:
        case Rung.STOP:
            stop()
        case Rung.TERMINATE:
            body.signal_group(signal.SIGTERM)
            body.signal_group(signal.SIGCONT)  # a stopped process acts on SIGTERM only when it is continued
        case Rung.KILL:
            body.signal_group(signal.SIGKILL)

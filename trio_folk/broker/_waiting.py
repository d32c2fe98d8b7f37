"""Waiting for a backend to get as far as somebody wants it, and noticing at once if it dies instead.

Knows the pauses between two looks. Does not know how a backend is launched.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from ._ask import ask
from ._binding import answers
from ._dial import Unreachable
from ._place import Place
from ._record import State, read_record
from ._watch import Watch, watching

__all__ = ["Gone", "pauses", "wait_bound", "wait_state"]

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between two looks; the last one from then on."""
ANSWER_WAIT = 30.0
"""Seconds that one question for a state is left open; then it is asked again."""


class Gone(Exception):
    """The process ended before it got there."""


def pauses() -> Iterator[float]:
    """The pauses, growing."""
    yield from PAUSES
    while True:
        yield PAUSES[-1]


async def wait_bound(place: Place, watch: Watch, deadline: float) -> bool:
    """Whether somebody listens there before the deadline.

    Raises:
        Gone: the process ended.

    Always a checkpoint. Cancellation leaves nothing behind.
    """
    for pause in pauses():
        if answers(place.endpoint):
            return True
        left = deadline - trio.current_time()
        if await watch.ended_within(max(0.0, min(pause, left))):
            raise Gone
        if left <= 0:
            return False
    raise AssertionError("the pauses do not end")


async def wait_state(place: Place, state: State, deadline: float) -> None:
    """Return when the backend that is recorded there is that far.

    Raises:
        Gone: it ended before.
        trio.TooSlowError: the deadline passed before.
        BackendRefused: it is shutting down.

    Always a checkpoint. Cancellation leaves nothing behind.
    """
    for pause in pauses():
        left = deadline - trio.current_time()
        if left <= 0:
            raise trio.TooSlowError
        try:
            await ask(place.control, "broker.wait", {"state": state.value}, timeout=min(left, ANSWER_WAIT))
            return
        except (Unreachable, trio.TooSlowError):
            await _pause_or_gone(place, min(pause, max(0.0, left)))
    raise AssertionError("the pauses do not end")


async def _pause_or_gone(place: Place, seconds: float) -> None:
    record = read_record(place.record)
    if record is None:
        await trio.sleep(seconds)
        return
    with watching(record) as watch:
        if watch is None or await watch.ended_within(seconds):
            raise Gone

"""What callers saw of a mixed load: how long short calls took, and which were passed over by an idle worker.

Workers tell when they began and ended each call, by the clock that all processes share, so that whether a slot had
nothing to do needs nobody's word.

Knows times and worker ids. Does not know pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from bench.callers import percentile

PATIENCE = 10_000_000  # nanoseconds that a short call may wait beside a slot with nothing to do


@attrs.frozen
class Seen:
    """One call: when it was asked and answered, and who ran it from when to when; nanoseconds of one clock."""

    long: bool
    asked: int
    answered: int
    worker: int
    began: int
    ended: int


def p99(calls: Sequence[Seen]) -> float:
    """Of the short ones, from asking to the answer, in ms."""
    return percentile(sorted(call.answered - call.asked for call in calls if not call.long), 99) / 1e6


def passed_over(calls: Sequence[Seen]) -> int:
    """How many short calls waited for so long beside one and the same worker that ran nothing."""
    idle = [*_idle(calls)]
    waits = [(call.asked, call.began) for call in calls if not call.long]
    waits = [(since, to) for since, to in waits if to - since > PATIENCE]
    return sum(
        any(min(to, until) - max(since, from_) > PATIENCE for from_, until in idle) for since, to in waits
    )


def _idle(calls: Sequence[Seen]) -> Iterator[tuple[int, int]]:
    """Every time, long enough to matter, in which a worker ran nothing between two calls."""
    last: dict[int, int] = {}
    for call in sorted(calls, key=lambda call: call.began):
        since = last.get(call.worker)
        if since is not None and call.began - since > PATIENCE:
            yield since, call.began
        last[call.worker] = call.ended

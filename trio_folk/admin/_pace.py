"""Pace: how many calls a pool ends a second and how long they take, without a clock on any call.

By Little's law the calls that run are, on average, the calls that end a second times the seconds that each takes. So
what runs is looked at now and then, and the quotient is the time. It is an average over the span between two marks,
true where about as many calls begin in it as end; it says nothing of a single call, nor while none ends.

What does not work
    Looking once a span: of calls that come in bursts that sees the burst or the pause, and never the average.
    Leaving out spans in which nothing ends: calls of ten seconds, watched every second, would seem to take four.

Knows numbers, and time as an argument. Does not know pools.
"""

from __future__ import annotations

import attrs

__all__ = ["Mark", "Pace", "Reader"]


@attrs.frozen
class Mark:
    """How far it all is: two of these have a pace between them.

    Attributes:
        time: when.
        ended: calls that have ended so far.
        running, waiting: call seconds so far, of calls that ran and of calls that waited.
    """

    time: float
    ended: int
    running: float
    waiting: float


class Pace:
    """The sums of one pool."""

    def __init__(self, now: float, ended: int) -> None:
        self._mark = Mark(now, ended, 0.0, 0.0)

    @property
    def mark(self) -> Mark:
        """How far it was at the last look."""
        return self._mark

    def look(self, now: float, ended: int, running: int, waiting: int) -> Mark:
        """So many calls have ended, and so many run and wait now, and are taken to have done so since the last look."""
        before = self._mark
        span = max(now - before.time, 0.0)
        self._mark = Mark(
            before.time + span, ended, before.running + span * running, before.waiting + span * waiting
        )
        return self._mark


class Reader:
    """One watcher, who reads the pace now and then."""

    def __init__(self, mark: Mark) -> None:
        self._read = mark
        self._ended = mark  # the last reading by which something had ended

    def read(self, now: Mark) -> dict[str, float | None]:
        """Calls that ended a second since the last reading; and the seconds that each ran and had waited, on average.

        None where nothing is known. What ran while nothing ended counts with what ends next: calls may be longer than
        the spans between readings.
        """
        span, ended, since = now.time - self._read.time, now.ended - self._read.ended, self._ended
        self._read = now
        if ended:
            self._ended = now
        return {
            "rate": ended / span if span > 0 else None,
            "latency": (now.running - since.running) / ended if ended > 0 else None,
            "wait": (now.waiting - since.waiting) / ended if ended > 0 else None,
        }

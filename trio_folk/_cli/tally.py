"""The numbers of a map.

Knows numbers and one clock.
"""

from __future__ import annotations

import time

import attrs

__all__ = ["Tally"]


@attrs.define
class Tally:
    """What became of the items so far.

    Attributes:
        total: how many items there are, where that is known.
        done: those with a result.
        failed: those without, after their last attempt.
        retried: attempts after the first.
        parts: how much of each running item is done, from 0 to 1, where the target reports that.
        began: when, on the monotonic clock.
    """

    total: int | None = None
    done: int = 0
    failed: int = 0
    retried: int = 0

    parts: dict[int, float] = attrs.field(factory=dict)
    began: float = attrs.field(factory=time.monotonic)

    @property
    def finished(self) -> int:
        """Items that will not be touched again."""
        return self.done + self.failed

    @property
    def worked(self) -> float:
        """Items, and parts of items, that are done."""
        return self.finished + sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        """Items finished a second."""
        return self.finished / max(self.seconds, 0.001)

"""The board of ``trio-folk top``: what is known of each program and pool, and the last minutes of its pace.

Knows samples as an admin socket tells them. Does not know sockets or terminals.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Board", "Pool", "Program"]

HISTORY = 240
"""Values that are kept of a rate and of a latency: as many as the widest terminal shows."""
_NOT_YET = "not heard of yet"


class Pool:
    """One pool.

    Attributes:
        sample: what was told last.
        rates, latencies: of the last samples, oldest first; None where nothing ended.
        slot_rates: calls that each slot was given a second between the last two samples, where they are known.
    """

    def __init__(self) -> None:
        self.sample: dict[str, Any] = {}
        self.rates: deque[float | None] = deque(maxlen=HISTORY)
        self.latencies: deque[float | None] = deque(maxlen=HISTORY)
        self.slot_rates: dict[int, float] = {}
        self._at = 0.0

    def note(self, sample: dict[str, Any], now: float) -> None:
        """It was told so."""
        if self.sample:
            self._note_slots(sample, now - self._at)
        if sample["rate"] is not None:
            self.rates.append(sample["rate"])
            self.latencies.append(sample["latency"])
        self.sample, self._at = sample, now

    def _note_slots(self, sample: dict[str, Any], span: float) -> None:
        before = {slot["worker"]: slot["jobs"] for slot in self.sample["slots"]}
        self.slot_rates = {
            slot["number"]: (slot["jobs"] - before.get(slot["worker"], 0)) / span
            for slot in sample["slots"]
            if slot["worker"] is not None and span > 0
        }


class Program:
    """One program that serves pools.

    Attributes:
        path: of its socket.
        pid: its own, once it has answered.
        pools: by their names.
        trouble: why nothing is heard of it, or None.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pid: int | None = None
        self.pools: dict[str, Pool] = {}
        self.trouble: str | None = _NOT_YET

    def note_here(self, pid: int) -> None:
        """It answers; another pid is another program, with other pools."""
        if pid != self.pid:
            self.pools.clear()
        self.pid, self.trouble = pid, None

    def note_sample(self, sample: dict[str, Any], now: float) -> None:
        """One of its pools told this."""
        self.pools.setdefault(sample["name"], Pool()).note(sample, now)


class Board:
    """All programs, by their sockets."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}

    @property
    def in_vain(self) -> bool:
        """Whether every program has been asked, and none is heard of."""
        return all(program.trouble not in (None, _NOT_YET) for program in self.programs.values())

    @property
    def complete(self) -> bool:
        """Whether there is a pace of every pool that there is."""
        pools = [pool for program in self.programs.values() for pool in program.pools.values()]
        return bool(pools) and all(pool.rates for pool in pools)

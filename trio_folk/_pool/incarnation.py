"""A slot, and one worker's time in it: what runs on it, what it has done, and when it is due to be replaced.

Knows a worker handle and numbers. Does not know how calls are chosen for it, nor what replaces it.
"""

from __future__ import annotations

import math
import random
from functools import partial

import trio

from .._errors import FolkError, SpawnError
from .._spawn import SpawnPermit
from ..abc import Job, Rung, WorkerHandle
from .accounts import Account
from .config import PoolConfig
from .holding import Holding
from .states import TABLE, SlotEvent, SlotState, after

__all__ = ["Incarnation", "Running", "Slot"]

_MIB = 1024 * 1024


class Slot:
    """One seat of the pool.

    Attributes:
        number: from 0.
        account: what its attempts to get a worker are spent from.
        spare: whether its worker takes no calls, and waits to take a slot.
        wanted: whether it is to have a worker; not always, where the pool is elastic or was scaled.
        asked: set when it is wanted.
        born: how many workers were made for it.
        conceived: the generation of the last of them.
        attempt: the scope of its attempts to get a worker; cancelled when it is given one, or when that would be
            of older code.
        incarnation: its ready worker, or None.
        failure: why it has no worker: the last attempt's failure, or the refusal of one.
        failures: failed attempts in a row.
        retry_at: when the next attempt may be made, while it waits for that.
    """

    def __init__(self, number: int, account: Account, *, spare: bool = False, wanted: bool = True) -> None:
        self.number = number
        self.account = account
        self.spare = spare
        self.wanted = wanted
        self.asked = trio.Event()
        self.conceived = 0
        self.attempt = trio.CancelScope()
        self.state = SlotState.EMPTY
        self.born = 0
        self.incarnation: Incarnation | None = None
        self.failure: SpawnError | None = None
        self.retry_at: float | None = None
        self.failures = 0

    def __repr__(self) -> str:
        name = "Spare" if self.spare else "Slot"
        return f"<{name} {self.number} {self.state.name}: {self.incarnation!r}>"

    def on(self, event: SlotEvent) -> None:
        """Let an event happen to it; the table of states says what follows."""
        self.state = TABLE[event][self.state] or after(self.state, event)


class Running:
    """One call on a worker, as far as its clock is concerned."""

    __slots__ = ("deadline", "overdue")

    def __init__(self) -> None:
        self.deadline = math.inf
        self.overdue = False


class Incarnation:
    """A ready worker in a slot.

    Attributes:
        slot: where it is, or was last.
        load: calls on it now: those that run, and those that it holds.
        concurrency: how many run at once.
        rank: among idle ones the lowest is taken.
        started: calls it was ever given.
        holds: whether it may ever hold calls.
        shelf: where dispatch keeps it, while it has a free seat.
        ahead: whether dispatch keeps it among those that may be given calls ahead.
        limited: whether it must be looked at between calls; its age is watched by the alarm.
        retiring: why it takes no more calls although it is healthy, or None.
    """

    def __init__(
        self,
        slot: Slot,
        handle: WorkerHandle,
        permit: SpawnPermit | None,
        config: PoolConfig,
        now: float,
        *,
        recyclable: bool = True,
    ) -> None:
        self.slot = slot
        self.handle = handle
        self.concurrency = handle.concurrency
        self.rank = handle.rank
        self._holding = Holding(handle, config.prefetch) if handle.holds else None
        self.holds = handle.holds
        self._condemned = handle.condemned
        self.load = 0
        self.started = 0
        self.shelf: dict[Incarnation, None] | None = None
        self.ahead = False
        self.retiring: str | None = None
        self.alarm = trio.CancelScope()
        self._permit = permit  # None where a reload went on without budget
        self._ready_at = now
        self._stable_at = now + config.min_uptime
        shorter = 1 - config.recycle_jitter * random.random()
        self._last_job = config.max_jobs if recyclable else math.inf
        self._due_jobs = math.ceil(self._last_job * shorter) if self._last_job < math.inf else math.inf
        self._memory = config.max_memory_mb * _MIB if recyclable else math.inf
        self._expires = now + config.ttl * shorter if recyclable else math.inf
        self.limited = self._last_job < math.inf or self._memory < math.inf
        self._clocks: dict[Running, None] = {}

    def __repr__(self) -> str:
        held = max(self.load - self.concurrency, 0)
        return (
            f"<Incarnation {self.handle.id}: {self.load - held} running, {held} held, {self.started} given>"
        )

    # -- capacity

    @property
    def seated(self) -> bool:
        """Whether it is its slot's worker: not one that was replaced and finishes its calls."""
        return self.slot.incarnation is self

    @property
    def serves(self) -> bool:
        """Whether it may be given calls at all."""
        # written out: a property within a property costs a tenth of a microsecond, on the path of every call
        return self.started < self._last_job and self.retiring is None and not self._condemned.is_set()

    @property
    def over(self) -> bool:
        """Whether its end has begun, whoever began it."""
        return self.retiring is not None or self._condemned.is_set()

    @property
    def full(self) -> bool:
        """Whether it can take no further call at this moment."""
        capacity = self.concurrency if self._holding is None else self._holding.capacity
        return self.load >= capacity or self.started >= self._last_job

    def take(self) -> None:
        """A call begins."""
        if not self.load:
            self.slot.on(SlotEvent.TAKE)
        self.load += 1
        self.started += 1
        if self.load > self.concurrency:
            self._watch()

    def hold(self) -> None:
        """A call is given ahead: it waits there."""
        self.load += 1
        self.started += 1
        self._watch()

    def release(self) -> None:
        """A call has ended."""
        self.load -= 1
        if not self.load and self.slot.incarnation is self:
            self.slot.on(SlotEvent.FREE)

    def return_unused(self) -> None:
        """A call that it was given was never begun: it counts for nothing."""
        self.started -= 1

    # -- holding

    def keep_alone(self, alone: bool) -> None:
        """Whether it is leased: then it is given nothing else."""
        if self._holding is not None:
            self._holding.keep_alone(alone)

    @property
    def urgent(self) -> bool:
        """Whether that has lasted so long that they should be had back though no worker is idle."""
        return self._holding is not None and self._holding.urgent

    def stuck(self, now: float) -> bool:
        """Whether it holds calls behind one that turned out long."""
        return self._holding is not None and self._holding.stuck(now, self.load - self.concurrency)

    def ask_back(self) -> bool:
        """Have it give back what it has not begun; those calls end with NotStarted. Whether there is anything."""
        return self._holding is not None and self._holding.ask_back()

    def _watch(self) -> None:
        holding = self._holding
        if holding is not None and holding.look_at == math.inf:
            holding.watch(trio.current_time())
            if holding.look_at < self.alarm.deadline:
                self.alarm.deadline = holding.look_at

    def age(self, now: float) -> float:
        """Seconds since it became ready."""
        return now - self._ready_at

    def prove(self, now: float) -> bool:
        """Whether it has lived long enough to be called stable; if so its attempt is given back."""
        if now < self._stable_at:
            return False
        if self._permit is not None:
            self._permit.stable()
        return True

    def give_back(self) -> None:
        """It ends as planned: its attempt spends nothing."""
        if self._permit is not None:
            self._permit.cancel()

    def spend(self, error: FolkError) -> None:
        """It died young: its attempt is spent."""
        if self._permit is not None:
            self._permit.failed(error)

    # -- being due

    def exhausted(self) -> bool:
        """Whether it has had its very last call: ``max_jobs`` is never exceeded."""
        return self.started >= self._last_job

    def due(self, now: float) -> str | None:
        """Why it should be replaced although it is healthy, or None. Measured between calls."""
        if self.started >= self._due_jobs:
            return f"max_jobs: it has had {self.started} calls"
        if now >= self._expires:
            return f"ttl: it is {self.age(now):.0f} s old"
        if self._memory < math.inf:
            used = self.handle.memory()
            if used is not None and used > self._memory:
                return f"max_memory_mb: it uses {used / _MIB:.0f} MiB"
        return None

    def retire(self, reason: str) -> None:
        """Take no more calls; once the running ones have ended, the worker is stopped."""
        if self.retiring is None:
            self.retiring = reason
            if self.seated:
                self.slot.on(SlotEvent.CONDEMN)
        self.stop_if_done()

    def stop_if_done(self) -> None:
        """Stop a retiring worker once nothing runs on it."""
        if self.retiring is not None and not self.load:
            self.handle.terminate(self.retiring, Rung.STOP)

    # -- the execution clock: one scope a worker, whose deadline only ever moves

    def start_clock(self, job: Job, seconds: float) -> Running:
        """Run a call against the clock, from now on, or if the worker holds it from when it begins."""
        running = Running()
        self._clocks[running] = None
        if self._holding is not None and self.load > 1:
            job.begun = partial(self._begin, running, seconds)
        else:
            job.begun = None
            self._begin(running, seconds)
        return running

    def _begin(self, running: Running, seconds: float) -> None:
        """The alarm may ring early; it is set anew then."""
        running.deadline = trio.current_time() + seconds
        if running.deadline < self.alarm.deadline:
            self.alarm.deadline = running.deadline

    def stop_clock(self, running: Running) -> None:
        """The call has ended; the alarm is left where it is, which costs less than to move it."""
        self._clocks.pop(running, None)

    def next_alarm(self, now: float) -> float:
        """When to look again."""
        look_at = math.inf if self._holding is None else self._holding.look_at
        moments = (each for each in (self._expires, self._stable_at, look_at) if now < each)
        return min(*moments, math.inf, min((each.deadline for each in self._clocks), default=math.inf))

    def overdue(self, now: float) -> bool:
        """Whether a call has run too long; each such is marked."""
        late = [running for running in self._clocks if running.deadline <= now]
        for running in late:
            running.overdue = True
        return bool(late)

"""What a pool can tell of itself at one instant, frozen.

Knows numbers.
"""

from __future__ import annotations

import attrs

from .._spawn import BudgetStatistics
from .incarnation import Slot
from .states import SlotState

__all__ = ["Counts", "PoolStatistics", "SlotStatistics", "slot_statistics"]


@attrs.frozen(kw_only=True)
class SlotStatistics:
    """One slot at this instant.

    Attributes:
        number: from 0.
        state: what it is doing.
        worker: ``pool/slot.incarnation`` of its ready worker, or None.
        pid: the process id of that worker, where it has one.
        generation: of the code that it runs, or None.
        memory: its resident memory in bytes, where that was asked for and somebody can tell.
        running: calls that it runs now.
        held: calls that wait in it.
        queued: calls that wait for this slot and no other, for their keys belong here; they are among the pool's.
        jobs: calls it was given since it became ready.
        age: seconds since then.
        failures: failed attempts in a row to get a worker.
        failure: why it has none: the last failure's or refusal's message, or None.
        retry_after: seconds until the next attempt may be made, while it waits for that.
    """

    number: int
    state: SlotState
    worker: str | None
    pid: int | None
    generation: int | None
    memory: int | None
    running: int
    held: int
    queued: int = 0
    jobs: int
    age: float
    failures: int
    failure: str | None
    retry_after: float | None


@attrs.define
class Counts:
    """What has happened since the pool was opened; only ever grows."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    exec_timeouts: int = 0
    queue_timeouts: int = 0
    refused: int = 0
    died: int = 0
    spawned: int = 0
    boot_failures: int = 0
    deaths: int = 0
    recycled: int = 0


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """A pool at one instant.

    Attributes:
        name: the pool's.
        slots: one record a slot.
        queued: calls that wait for a slot.
        held: calls that wait in workers, each behind others so short that it begins within a millisecond.
        running: calls that workers run now.
        wanted: slots that are to have a worker: all, unless the pool is elastic or was scaled.
        ready: slots whose worker could take a call now.
        spares: workers that are ready beside the slots.
        generation: of the code that new workers are born with.
        draining: it takes no more calls.
        budget: the attempts to get workers: how many are used, in flight, failed, and when there are more.
        succeeded, failed, cancelled: calls by their end; ``failed`` is by an error of the method or function,
            or of the protocol.
        exec_timeouts, queue_timeouts, refused: calls that took or waited too long, or were refused (PoolBusy).
        died: calls that ended because their worker did.
        spawned, boot_failures: attempts to get a worker, and how many failed.
        deaths: ready workers that ended without being asked to.
        recycled: healthy workers that were replaced.
    """

    name: str
    slots: tuple[SlotStatistics, ...]
    queued: int
    held: int
    running: int
    wanted: int
    ready: int
    spares: int
    generation: int
    draining: bool
    budget: BudgetStatistics
    succeeded: int
    failed: int
    cancelled: int
    exec_timeouts: int
    queue_timeouts: int
    refused: int
    died: int
    spawned: int
    boot_failures: int
    deaths: int
    recycled: int


def slot_statistics(slot: Slot, now: float, queued: int, *, memory: bool = False) -> SlotStatistics:
    """One slot's record; to ask for its memory costs a system call or three."""
    worker = slot.incarnation
    return SlotStatistics(
        number=slot.number,
        state=slot.state,
        worker=str(worker.handle.id) if worker else None,
        pid=worker.handle.pid if worker else None,
        generation=worker.handle.generation if worker else None,
        memory=worker.handle.memory() if worker and memory else None,
        running=min(worker.load, worker.concurrency) if worker else 0,
        held=max(worker.load - worker.concurrency, 0) if worker else 0,
        queued=queued,
        jobs=worker.started if worker else 0,
        age=worker.age(now) if worker else 0.0,
        failures=slot.failures,
        failure=slot.failure.message if slot.failure else None,
        retry_after=max(slot.retry_at - now, 0.0) if slot.retry_at is not None else None,
    )

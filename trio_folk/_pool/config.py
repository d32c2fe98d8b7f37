"""A pool's settings: validated once, frozen, every time in seconds, ``math.inf`` for "no limit".

Knows numbers. Does not know pools.
"""

from __future__ import annotations

import math
import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import attrs

from .._spawn import SpawnBudget

__all__ = ["PoolConfig", "usable_cpus"]

MOST_AHEAD = 1000
"""Calls that a worker may be given at once: it remembers which of them it gives back."""


def usable_cpus() -> int:
    """The processors that this process may use: its affinity, less what its cgroup's quota forbids."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # cgroup v2, "cpu.max": "<quota> <period>" in microseconds, or "max <period>"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def _number(least: float, *, whole: bool = False, above: bool = False) -> Any:
    """A validator: at least (or above) this; a whole number or inf where it counts things."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        name = attribute.name
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise TypeError(f"{name} is a number, not {value!r}")
        if whole and not (math.isinf(value) or float(value).is_integer()):
            raise ValueError(f"{name} is a whole number or math.inf, not {value!r}")
        if value < least or (above and value == least):
            raise ValueError(f"{name} is {'more than' if above else 'at least'} {least:g}, not {value!r}")

    return check


def _slots(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"slots is a whole number of workers, not {value!r}")
    if value < 1:
        raise ValueError(f"slots is at least 1, not {value!r}: a pool without slots can run nothing")


def _count(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} is a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{attribute.name} is at least 0, not {value!r}")


def _fewest(config: Any, _: object, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"min_slots is a whole number of workers, or None for all slots, not {value!r}")
    if value is not None and not 1 <= value <= config.slots:
        raise ValueError(f"min_slots is from 1 to slots, which is {config.slots}, not {value!r}")


def _surge_or_not(config: Any, _: object, value: Any) -> None:
    if not value and not config.max_surge:
        raise ValueError("max_surge and max_unavailable are both 0: a reload could not replace any worker")


def _variables(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    for each in value:
        if not isinstance(each, ContextVar):
            raise TypeError(f"context holds context variables, not {each!r}")
    if len({each.name for each in value}) < len(value):
        raise ValueError("two context variables have the same name, by which they would travel")


def _prefetch(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value == "auto":
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'prefetch is a whole number of calls or "auto", not {value!r}')
    if not 1 <= value <= MOST_AHEAD:
        raise ValueError(f"prefetch is from 1 to {MOST_AHEAD}, not {value!r}")


def _share(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{attribute.name} is a share from 0 to less than 1, not {value!r}")


@attrs.frozen(kw_only=True)
class PoolConfig:
    """How many workers, how long each thing may take, and when a worker is replaced.

    Attributes:
        slots: how many workers; the processors this process may use, cgroup quota included.
        boot_timeout: from launch to ready.
        exec_timeout: from sending a call to its answer; then its worker is ended.
        queue_timeout: how long a call waits for a slot; 0 means not at all (PoolBusy).
        max_queue: how many calls may wait; one more is refused (PoolBusy).
        max_jobs: calls after which a worker is replaced; never exceeded.
        ttl: age since ready at which a worker is replaced, idle or not.
        max_memory_mb: resident memory, in MiB, measured between calls, above which a worker is replaced.
        min_slots: how many slots have workers however little there is to do; all by default. With fewer, the others
            get theirs when calls wait for longer than some milliseconds.
        idle_timeout: how long a worker beyond ``min_slots`` may have no call before its slot is given up.
        spares: how many workers are kept ready beside the slots; one takes over at once when a slot's worker dies, is
            recycled, or is ended by a cancel or a timeout.
        recycle_jitter: the share by which each worker's max_jobs and ttl are shortened at random, so that
            workers born together are not replaced together.
        cancel_grace: how long a running call whose caller was cancelled may take to end, before its worker is ended.
            Only workers that can be told have it; with 0 none has.
        terminate_grace: what a worker gets after EOF, and again after SIGTERM, before the next rung.
        drain_timeout: how long running and queued calls may take when the pool's block is left normally.
        reload_drain_timeout: how long calls may take to end on a worker that `reload` replaces.
        max_surge: how many slots at once get their new worker of a reload booted beside the old one.
        max_unavailable: how many slots at once may be without a worker in a reload, which takes less memory.
        min_uptime: a worker that dies younger, of itself, spends an attempt of the budget, as a failed boot does.
        prefetch: how many calls a busy worker may have, the one that it runs included. With ``"auto"`` as many as it
            will begin within a millisecond, by the pace of its last calls; with 1 it gets the next when it has
            answered. More than one only where workers can give back what they have not begun: those of our SDK with a
            concurrency of 1. What is stuck behind a long call is taken back: at once with ``"auto"``, with a number
            when another worker is idle.
        budget: how many attempts to get a worker may be spent in a window; three a slot in 30 s by default. Each part
            of a `MixedRuntime` has as much for itself.
        context: context variables whose values, where they are set, travel with each call under their names, to workers
            of our SDK; there they are in ``current_call().context``, and set where ``Worker(context=...)`` names them.
        on_crash_loop: what happens when the budget is used up and no slot can serve: ``"raise"`` ends the pool with
            CrashLoop; with ``"degrade"`` callers get that error at once, until an attempt succeeds again.
    """

    slots: int = attrs.field(factory=usable_cpus, validator=_slots)
    boot_timeout: float = attrs.field(default=30.0, validator=_number(0, above=True))
    exec_timeout: float = attrs.field(default=math.inf, validator=_number(0, above=True))
    queue_timeout: float = attrs.field(default=math.inf, validator=_number(0))
    max_queue: float = attrs.field(default=math.inf, validator=_number(0, whole=True))
    max_jobs: float = attrs.field(default=math.inf, validator=_number(1, whole=True))
    ttl: float = attrs.field(default=math.inf, validator=_number(0, above=True))
    max_memory_mb: float = attrs.field(default=math.inf, validator=_number(0, above=True))
    min_slots: int | None = attrs.field(default=None, validator=_fewest)
    idle_timeout: float = attrs.field(default=math.inf, validator=_number(0, above=True))
    spares: int = attrs.field(default=0, validator=_count)
    recycle_jitter: float = attrs.field(default=0.1, validator=_share)
    cancel_grace: float = attrs.field(default=1.0, validator=_number(0))
    terminate_grace: float = attrs.field(default=5.0, validator=_number(0))
    drain_timeout: float = attrs.field(default=30.0, validator=_number(0))
    reload_drain_timeout: float = attrs.field(default=math.inf, validator=_number(0))
    max_surge: int = attrs.field(default=1, validator=_count)
    max_unavailable: int = attrs.field(default=0, validator=[_count, _surge_or_not])
    min_uptime: float = attrs.field(default=1.0, validator=_number(0))
    prefetch: int | Literal["auto"] = attrs.field(default="auto", validator=_prefetch)
    budget: SpawnBudget | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(SpawnBudget))
    )
    context: tuple[ContextVar[Any], ...] = attrs.field(default=(), validator=_variables)
    on_crash_loop: Literal["raise", "degrade"] = attrs.field(
        default="raise", validator=attrs.validators.in_(("raise", "degrade"))
    )

    @property
    def fewest(self) -> int:
        """``min_slots``, or ``slots`` where that is not given."""
        return self.slots if self.min_slots is None else self.min_slots

    @classmethod
    def folk(cls, **changes: Any) -> PoolConfig:
        """Folk's own defaults: 4 workers, 1000 jobs, an hour of age, 30 s to boot and 30 s to run."""
        return cls(
            **{"slots": 4, "max_jobs": 1000, "ttl": 3600.0, "boot_timeout": 30.0, "exec_timeout": 30.0}
            | changes
        )

"""A pool's settings: validated once, frozen, every time in seconds, ``math.inf`` for "no limit".

Knows numbers. Does not know pools.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import attrs

from .._spawn import SpawnBudget

__all__ = ["PoolConfig", "usable_cpus"]


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
        recycle_jitter: the share by which each worker's max_jobs and ttl are shortened at random, so that
            workers born together are not replaced together.
        terminate_grace: what a worker gets after EOF, and again after SIGTERM, before the next rung.
        drain_timeout: how long running and queued calls may take when the pool's block is left normally.
        reload_drain_timeout: how long calls may take to end on a worker that `reload` replaces.
        min_uptime: a worker that dies younger, of itself, spends an attempt of the budget, as a failed boot does.
        budget: how many attempts to get a worker may be spent in a window; three a slot in 30 s by default.
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
    recycle_jitter: float = attrs.field(default=0.1, validator=_share)
    terminate_grace: float = attrs.field(default=5.0, validator=_number(0))
    drain_timeout: float = attrs.field(default=30.0, validator=_number(0))
    reload_drain_timeout: float = attrs.field(default=math.inf, validator=_number(0))
    min_uptime: float = attrs.field(default=1.0, validator=_number(0))
    budget: SpawnBudget | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(SpawnBudget))
    )
    on_crash_loop: Literal["raise", "degrade"] = attrs.field(
        default="raise", validator=attrs.validators.in_(("raise", "degrade"))
    )

    @classmethod
    def folk(cls, **changes: Any) -> PoolConfig:
        """Folk's own defaults: 4 workers, 1000 jobs, an hour of age, 30 s to boot and 30 s to run."""
        return cls(
            **{"slots": 4, "max_jobs": 1000, "ttl": 3600.0, "boot_timeout": 30.0, "exec_timeout": 30.0}
            | changes
        )

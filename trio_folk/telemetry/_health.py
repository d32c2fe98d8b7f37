"""Health: is a pool well, less than well, or of no use; and each question has a time limit.

A probe that hangs with what it probes says nothing, and one that knows only yes and no takes a service down for a
slot that is being replaced. So there are three answers, and whatever takes too long has failed.

Invariants
    1. `Health.check` returns after the longest of its checks' limits, whatever they do, if they heed cancellation.
    2. No check's failure or delay changes what is said of another.

Knows pools by their statistics, and checks as functions. Does not know who asks.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType

import attrs
import trio

from .._pool import WorkerPool

__all__ = ["CheckResult", "Health", "HealthReport", "HealthStatus"]

TIMEOUT = 1.0
"""Seconds that a check may take, unless it is given others; a probe of Kubernetes waits as long by default."""
_SHOWN = 500  # characters of a message


class HealthStatus(enum.StrEnum):
    """How something is; the worst comes last."""

    PASS = "pass"
    """It is well."""
    WARN = "warn"
    """It serves, and somebody should look at it."""
    FAIL = "fail"
    """It does not serve."""


@attrs.frozen
class CheckResult:
    """What one check found.

    Attributes:
        status: how it is.
        message: why it is not well.
        seconds: how long the check took.
    """

    status: HealthStatus
    message: str = ""
    seconds: float = 0.0


@attrs.frozen
class HealthReport:
    """What all checks found.

    Attributes:
        status: the worst of them; PASS where there are none.
        checks: each by its name.
    """

    status: HealthStatus
    checks: Mapping[str, CheckResult]


Check = Callable[[], Awaitable["HealthStatus | CheckResult | None"]]


@attrs.frozen
class _Kept:
    check: Check
    timeout: float
    live: bool


class Health:
    """The health of pools, and of what else you add: ``Health(pool)``.

    A pool is well when every slot that is wanted has a worker, less than well while some have none or it is refused
    attempts, and of no use when none serves, or it drains.

    There are two questions. *Ready*: should calls come here? *Live*: or should this program be started anew? Most
    checks belong to the first only: a database that is away is not mended by a restart.

    Args:
        pools: whose health it is.
        timeout: seconds for each check that is added without its own.

    Raises:
        ValueError: two pools have one name; the timeout is none.
    """

    def __init__(self, *pools: WorkerPool, timeout: float = TIMEOUT) -> None:
        self._timeout = _checked(timeout)
        self._kept: dict[str, _Kept] = {}
        for pool in pools:
            self.add(f"pool {pool.name}", partial(_ready, pool))
            self.add(f"supervision of {pool.name}", partial(_live, pool), live=True)

    def __repr__(self) -> str:
        return f"<Health: {', '.join(self._kept) or 'no checks'}>"

    def add(self, name: str, check: Check, *, timeout: float | None = None, live: bool = False) -> None:
        """Ask this, too: ``health.add("database", check)`` with an ``async def check()``.

        Args:
            name: what the report calls it.
            check: returns None or a `HealthStatus`, or a `CheckResult` to say why. Raising is failing. It is cancelled
                when its time is over; one that shields itself from that holds up the whole report.
            timeout: seconds that it may take.
            live: its failing means that this program should be started anew.

        Raises:
            ValueError: there is a check of this name.
        """
        if name in self._kept:
            raise ValueError(f"there is a check {name!r} already; remove it first")
        self._kept[name] = _Kept(check, self._timeout if timeout is None else _checked(timeout), live)

    def remove(self, name: str) -> None:
        """Ask this no longer.

        Raises:
            KeyError: there is no such check.
        """
        del self._kept[name]

    async def check(self, *, live: bool = False) -> HealthReport:
        """Ask everything at once, each within its time.

        Args:
            live: ask only whether the program should be started anew.

        Always a checkpoint. Cancellation: the checks are cancelled, and nothing is reported.
        """
        found: dict[str, CheckResult] = {}
        asked = {name: kept for name, kept in self._kept.items() if kept.live or not live}
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for name, kept in asked.items():
                nursery.start_soon(_ask, name, kept, found)
        in_order = {name: found[name] for name in asked}
        worst = max((each.status for each in found.values()), key=_RANK.index, default=HealthStatus.PASS)
        return HealthReport(worst, MappingProxyType(in_order))


_RANK = list(HealthStatus)


async def _ask(name: str, kept: _Kept, found: dict[str, CheckResult]) -> None:
    began = trio.current_time()
    result = CheckResult(HealthStatus.FAIL, f"took longer than {kept.timeout:g} s")
    with trio.move_on_after(kept.timeout):
        try:
            result = _result_of(await kept.check())
        except Exception as error:
            result = CheckResult(HealthStatus.FAIL, f"{type(error).__name__}: {error}")
    seconds = trio.current_time() - began
    found[name] = attrs.evolve(result, message=result.message[:_SHOWN], seconds=seconds)


def _result_of(answer: object) -> CheckResult:
    if answer is None:
        return CheckResult(HealthStatus.PASS)
    if isinstance(answer, HealthStatus):
        return CheckResult(answer)
    if isinstance(answer, CheckResult):
        return answer
    raise TypeError(f"a check returns None, a HealthStatus or a CheckResult, not {answer!r:.100}")


async def _ready(pool: WorkerPool) -> CheckResult:
    seen = pool.statistics()
    if pool.state != "open":
        return CheckResult(HealthStatus.FAIL, f"it is {pool.state}")
    without = [slot for slot in seen.slots if slot.failure is not None]
    why = f": {without[0].failure}" if without else ""
    if not seen.ready:
        return CheckResult(HealthStatus.FAIL, f"no slot has a worker that serves{why}")
    if without:
        return CheckResult(
            HealthStatus.WARN, f"{len(without)} of {len(seen.slots)} slots have no worker{why}"
        )
    return CheckResult(HealthStatus.PASS)


async def _live(pool: WorkerPool) -> CheckResult:
    if pool.state == "closed":
        return CheckResult(HealthStatus.FAIL, "it is closed")
    return CheckResult(HealthStatus.PASS)


def _checked(timeout: float) -> float:
    if not 0 < timeout < math.inf:
        raise ValueError(f"a check's timeout is more than 0 seconds, and an end, not {timeout!r}")
    return timeout

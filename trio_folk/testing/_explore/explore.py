"""All points of a function, one after the other: found, tried, tried again, and tried inside the clean-up.

Invariants
    1. Every point that was found is reached, or skipped and counted, or named as unreached.
    2. A point that is not met is tried again, a bounded number of times.
    3. Seeds that can make no difference are not tried.

Knows scenarios, strikes and verdicts. Does not know how a run is made, nor trio's insides.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeAlias

import trio

from . import privates
from .findings import Finding, describe, judge, remark
from .hangs import Watchman
from .left import Stocktaker
from .points import Point
from .running import Scenario
from .scan import SCANS
from .strike import Strike
from .summary import CancellationLeak, Exploration
from .watch import Finder, Watch

__all__ = ["explore_cancellation"]

_Plan: TypeAlias = tuple[Point, Point | None]


def explore_cancellation(
    async_fn: Callable[..., Awaitable[object]],
    *args: object,
    seeds: Iterable[int] = range(3),
    second: bool = True,
    invariant: Callable[..., object] | None = None,
    around: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    clock: Callable[[], trio.abc.Clock] | None = None,
    stop_at_first: bool = True,
    may_return: bool = False,
    may_leave_tasks: bool = False,
    garbage: bool = False,
    scan: Collection[Literal["locks", "channels"]] = (),
    max_points: int | None = None,
    tries: int = 3,
    patience: float = 10.0,
    settle: float = 0.5,
) -> Exploration:
    """Run ``async_fn(*args)`` again and again, cancel it each time at another point, and look what is left.

    Works on any trio code. The function is run as a whole each time, by ``trio.run`` from here: it must bring about
    the same from the beginning, and succeed when it is not cancelled. A point is a moment in the life of one of
    its tasks: before a step, while it waits, at a later checkpoint of one step, or after a step of a task
    that is shielded, or outside the function (``around``).

    Looked for are: runs that do not end; a Cancelled that was swallowed; descriptors, processes, zombies, threads
    and temporary files; tasks left in a nursery outside the function, and system tasks; locks that the function's
    own task still holds; a broken ``invariant``; and trio's own complaints. An error in Cancelled's place is a
    warning in the result.

    Args:
        async_fn: what is explored.
        args: its arguments, after what ``around`` gave.
        seeds: the orders in which tasks that can run at the same time do; each finds and tries its own points.
        second: cancel once more inside the clean-up: a shielded scope with a deadline times out.
        invariant: what must hold after each run, called inside trio with what ``around`` gave, before that is left;
            may be async. It fails by an exception or by returning False. Lost results and lost resources of your
            own are found only so.
        around: gives an async context manager to run the function in, which is not cancelled; what it yields is the
            function's first argument. E.g. a pool that must outlive a cancelled call.
        clock: makes the clock of each run, e.g. ``lambda: MockClock(autojump_threshold=0)``.
        stop_at_first: raise at the first fault; otherwise go on and raise with all.
        may_return: the function may return after Cancelled was raised in it, because it had succeeded all the same.
        may_leave_tasks: the tasks that it starts in nurseries around it may stay when it is cancelled: they are for
            what stands around it to end.
        garbage: collect garbage after each run, and report each warning that comes of it; slow.
        scan: look through all objects for ``"locks"`` whose owner has ended and ``"channels"`` left open; slow.
        max_points: try at most so many points of each seed, spread evenly, and as many inside clean-ups.
        tries: how many runs may go by without meeting a point before it is called unreached.
        patience: how many real seconds a run may take; a deadlock is found sooner.
        settle: how many real seconds what is just ending, such as a thread, has to end.

    Returns:
        What was done, as numbers and names.

    Raises:
        CancellationLeak: with the point, the line, the tasks, and what is wrong.
        UnsupportedTrio: the private names that this reads are not known in this version of trio.
        Exception: what the function raises when it is not cancelled.
    """
    __tracebackhide__ = True
    privates.check_trio()
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "explore_cancellation calls trio.run itself: call it from a function that is not async"
        )
    if unknown := set(scan) - SCANS:
        raise ValueError(f"scan is for {', '.join(sorted(SCANS))}, not for {', '.join(sorted(unknown))}")
    scenario = Scenario(
        async_fn=async_fn,
        args=args,
        around=around,
        invariant=invariant,
        clock=clock,
        scan=frozenset(scan),
        settle=settle,
        may_leave_tasks=may_leave_tasks,
    )
    with Watchman(patience) as watchman:
        explorer = _Explorer(
            scenario, watchman, Stocktaker(settle, garbage), tries, stop_at_first, may_return
        )
        return explorer.explore(seeds, second, max_points)


class _Stop(Exception):
    """Enough has been found."""


class _Explorer:
    def __init__(
        self,
        scenario: Scenario,
        watchman: Watchman,
        stock: Stocktaker,
        tries: int,
        stop_at_first: bool,
        may_return: bool,
    ) -> None:
        self._scenario = scenario
        self._watchman = watchman
        self._stock = stock
        self._tries = tries
        self._stop_at_first = stop_at_first
        self._may_return = may_return
        self._seeds: list[int] = []
        self._seed = 0
        self._runs = 0
        self._found: set[_Plan] = set()
        self._reached: set[_Plan] = set()
        self._skipped: set[_Plan] = set()
        self._cleanups: set[tuple[object, Point]] = set()
        self._warnings: dict[str, None] = {}
        self._findings: dict[object, Finding] = {}
        self._choice = False

    def explore(self, seeds: Iterable[int], second: bool, most: int | None) -> Exploration:
        __tracebackhide__ = True
        begun = time.monotonic()
        try:
            for seed in seeds:
                if self._seeds and not self._choice:
                    break  # invariant 3
                self._seeds.append(seed)
                self._seed = seed
                self._explore_seed(second, most)
        except _Stop:
            pass
        exploration = self._summary(time.monotonic() - begun)
        if exploration.findings:
            raise CancellationLeak(exploration)
        return exploration

    def _explore_seed(self, second: bool, most: int | None) -> None:
        if len(self._seeds) == 1:
            self._scenario.run(Watch(), self._seed, self._watchman)  # what is imported or cached stays
        points = self._find()
        cleanups: dict[_Plan, None] = {}
        for plan in self._choose([(point, None) for point in points], most):
            strike = self._reach(plan)
            if second and strike is not None:
                cleanups.update(dict.fromkeys((plan[0], point) for point in self._new_cleanups(strike)))
        for plan in self._choose(list(cleanups), most):
            self._reach(plan)

    def _find(self) -> list[Point]:
        finder = Finder()
        self._run(finder)
        return list(dict.fromkeys(finder.points))

    def _choose(self, plans: list[_Plan], most: int | None) -> list[_Plan]:
        if most is None or len(plans) <= most:
            return plans
        chosen = [plans[number * len(plans) // most] for number in range(most)]
        self._skipped.update(set(plans) - set(chosen))
        return chosen

    def _reach(self, plan: _Plan) -> Strike | None:
        """Cancel there, trying again while it is not met; the run that was, or None."""
        self._found.add(plan)
        for _ in range(self._tries):
            strike = Strike(*plan)
            try:
                self._run(strike)
            finally:
                met = strike.struck and (plan[1] is None or strike.struck_again)
                self._reached.update([plan] if met else [])
            if met:
                return strike
        return None

    def _new_cleanups(self, strike: Strike) -> list[Point]:
        """The points inside this clean-up, but for those that were seen in one that began at the same line."""
        began = next((each.line for each in strike.deliveries), None)
        new = [point for point in strike.cleanup if (began, point) not in self._cleanups]
        self._cleanups.update((began, point) for point in new)
        return new

    def _run(self, watch: Watch) -> None:
        """Run once and judge it. Nothing of the run may be held when garbage is collected."""
        self._runs += 1
        self._stock.begin()
        record = self._scenario.run(watch, self._seed, self._watchman)
        self._choice |= record.had_choice
        left = self._stock.left()
        strike = watch if isinstance(watch, Strike) else None
        if strike is None and record.error is not None:
            raise record.kept[0]
        watch.offspring.clear()
        left = self._stock.let_go(left, record.kept.clear)
        if (fault := judge(record, left, strike, self._may_return)) is not None:
            self._keep(describe(fault, record, left, strike, self._seed), record.abandoned)
        elif strike is not None and (odd := remark(record, strike)) is not None:
            self._warnings[odd] = None

    def _keep(self, finding: Finding, abandoned: bool) -> None:
        point = finding.point
        key = (finding.fault, finding.delivered, point and point.kind, finding.second is None)
        self._findings.setdefault(key, finding)
        if self._stop_at_first or abandoned or point is None:
            raise _Stop

    def _summary(self, seconds: float) -> Exploration:
        names = {plan: _name(plan) for plan in self._found | self._skipped}
        reached = {names[plan] for plan in self._reached}
        found = {names[plan] for plan in self._found}
        return Exploration(
            points=len(found),
            reached=len(reached),
            unreached=tuple(sorted(found - reached)),
            in_cleanup=len({names[plan] for plan in self._reached if plan[1] is not None}),
            skipped=len({names[plan] for plan in self._skipped} - found),
            runs=self._runs,
            seeds=tuple(self._seeds),
            seconds=seconds,
            warnings=tuple(self._warnings),
            findings=tuple(self._findings.values()),
        )


def _name(plan: _Plan) -> str:
    first, second = plan
    return str(first) if second is None else f"{first}; then, in the clean-up, {second}"

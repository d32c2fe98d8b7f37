"""The explorer finds each planted fault, at its line, and accuses no correct function."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import planted
import pytest
import trio
import trio.testing

from trio_folk.testing import CancellationLeak, Exploration, UnsupportedTrio, explore_cancellation
from trio_folk.testing._explore.privates import check_trio
from trio_folk.testing._explore.watch import Watch

FAULTS: dict[Callable[..., Awaitable[None]], tuple[str, str, dict[str, Any]]] = {
    planted.awaits_in_finally: ("left", "-> /dev/null", {}),
    planted.opens_between_awaits: ("left", "-> /dev/null", {}),
    planted.opens_inside_a_step: ("left", "-> /dev/null", {}),
    planted.abandons_thread: ("left", "thread ", {}),
    planted.leaves_zombie: ("left", "zombie ", {}),
    planted.leaves_child: ("left", "import time; time.sleep(60)", {}),
    planted.keeps_lock: ("left", "a lock held by task 'main'", {}),
    planted.ends_with_lock: ("left", "ends_with_lock.<locals>.work', which has ended", {"scan": ["locks"]}),
    planted.swallows: ("swallowed", "", {}),
    planted.leaves_task: ("left", "task 'trio.Event.wait'", {"around": planted.a_nursery}),
    planted.leaves_system_task: ("left", "task 'trio.Event.wait'", {}),
    planted.deadlocks: ("hung", "", {}),
    planted.spins: ("hung", "", {"patience": 2}),
    planted.waits_for_thread: ("hung", "the run was abandoned", {"patience": 2}),
    planted.loses_item: (
        "invariant",
        "it returned False",
        {"around": planted.open_box, "invariant": planted.Box.is_whole},
    ),
    planted.cleans_up_in_time: ("left", "-> /dev/null", {}),
    planted.opens_at_a_bad_moment: ("left", "-> /dev/null", {}),
    planted.leaves_socket_to_the_collector: ("left", "(closed by the garbage collector only)", {}),
    planted.misnests: ("internal", "", {}),
}
CORRECT: dict[Callable[..., Awaitable[None]], dict[str, Any]] = {
    planted.shields_clean_up: {},
    planted.waits_for_its_thread: {},
    planted.lets_its_thread_end: {"settle": 60},
    planted.runs_process: {"seeds": [0], "patience": 60},
    planted.talks_through_sockets: {},
    planted.passes_items_on: {},
    planted.takes_turns: {"scan": ["locks"]},
    planted.starts_service: {},
    planted.starts_service_elsewhere: {"around": planted.a_nursery},
    planted.times_out: {},
    planted.iterates: {},
    planted.reads_file: {},
    planted.keeps_item: {"around": planted.open_box, "invariant": planted.Box.is_whole},
}


@pytest.fixture(autouse=True)
def _cleared(nothing_left: None) -> Iterator[None]:
    yield
    planted.clear_away()


def name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("fn", FAULTS, ids=name)
def test_planted_fault_is_found_at_its_line(fn: Callable[..., Awaitable[None]]) -> None:
    """Each fault is called what it is, with the line where Cancelled was raised and the line of the clean-up."""
    fault, detail, options = FAULTS[fn]
    with pytest.raises(CancellationLeak) as caught:
        explore_cancellation(fn, **options)
    [finding] = caught.value.findings
    print(finding)
    assert finding.fault == fault
    assert detail in "\n".join(finding.details)
    assert any(place in str(finding.delivered) for place in planted.marked(fn, "here"))
    where = finding.hang or "\n".join(finding.interrupted)
    assert all(place in where for place in planted.marked(fn, "then"))


@pytest.mark.parametrize("fn", CORRECT, ids=name)
def test_correct_function_is_not_accused(fn: Callable[..., Awaitable[None]]) -> None:
    """Every point of it is reached, and nothing is found."""
    done = explore_cancellation(fn, **CORRECT[fn])
    print(done)
    assert isinstance(done, Exploration)
    if fn is not planted.runs_process:  # how often one waits for a process is not up to us
        assert done.unreached == ()
    assert done.reached >= 2


async def three_steps() -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


def mocked() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def test_all_kinds_of_points_are_found_and_reached() -> None:
    """Before, after and inside a step, and beside it: each once where there is one."""

    async def one_of_each(nursery: trio.Nursery) -> None:
        await trio.sleep(2)  # before it, and while it waits
        await trio.lowlevel.checkpoint_if_cancelled()  # before the next step
        await trio.lowlevel.checkpoint_if_cancelled()  # inside it

    @asynccontextmanager
    async def with_other() -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)  # begins, and ends
            yield nursery

    done = explore_cancellation(one_of_each, around=with_other, clock=mocked, seeds=[0])
    assert (done.points, done.reached, done.runs) == (6, 6, 7)


def test_every_checkpoint_is_a_point() -> None:
    """Of a function without branches, so are all of them, whatever the seed: other seeds are not tried."""
    done = explore_cancellation(three_steps)
    assert (done.points, done.reached, done.runs, done.seeds) == (3, 3, 4, (0,))
    assert done.findings == done.unreached == done.warnings == ()
    assert repr(done).startswith("<Exploration: 3 of 3 points reached, 4 runs over 1 seed, ")


def test_points_are_counted_or_skipped() -> None:
    """With ``max_points`` the rest is skipped, and is said to be."""
    done = explore_cancellation(three_steps, max_points=2)
    assert (done.points, done.reached, done.skipped) == (2, 2, 1)


def test_point_that_does_not_come_again_is_named() -> None:
    """It is tried a bounded number of times; then it is unreached, by its name."""
    runs = 0

    async def changes() -> None:
        nonlocal runs
        runs += 1
        await trio.lowlevel.checkpoint()
        if runs <= 2:  # when it is tried out, and when its points are looked for
            await trio.sleep(0.001)

    done = explore_cancellation(changes, tries=2)
    assert (done.points, done.reached, done.runs) == (2, 1, 1 + 1 + 2)
    [name] = done.unreached
    assert name.startswith("while it waited, main at ")
    assert name.endswith(".changes")


def test_seeds_order_the_tasks() -> None:
    """Each seed has an order of its own, the same in each run; by some seeds, all orders come."""
    orders: dict[int, set[str]] = {}

    async def race() -> None:
        async def run(name: str) -> None:
            for _ in range(2):
                log.append(name)
                await trio.lowlevel.checkpoint()

        log: list[str] = []
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(run, name)
        orders.setdefault(seed, set()).add("".join(log))

    for seed in range(30):
        assert explore_cancellation(race, seeds=[seed]).unreached == ()
    assert all(len(seen) == 1 for seen in orders.values())
    assert {next(iter(seen))[:3] for seen in orders.values()} == set(
        map("".join, itertools.permutations("abc"))
    )


def test_trio_is_left_as_it_was() -> None:
    """The order of tasks is ours only during a run; a profiler is not."""
    from trio._core import _run

    before = (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING, sys.getprofile())
    explore_cancellation(three_steps)
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING, sys.getprofile()) == before


def test_all_faults_are_collected() -> None:
    """With ``stop_at_first=False`` each fault, line and kind of point is one finding of the one exception."""

    async def two_faults() -> None:
        lock = trio.Lock()
        await lock.acquire()
        await trio.sleep(0.001)  # before it, and while it waits
        lock.release()
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep(0.001)

    with pytest.raises(CancellationLeak) as caught:
        explore_cancellation(two_faults, stop_at_first=False)
    found = [(finding.fault, finding.point and finding.point.kind) for finding in caught.value.findings]
    assert found == [("left", "before"), ("left", "after"), ("swallowed", "after")]
    assert caught.value.exploration.unreached == ()
    assert str(caught.value).count("the tasks when it was cancelled:\n  main: at ") == 3


def test_result_that_came_all_the_same_may_be_returned() -> None:
    """``may_return`` says that this function may."""
    assert explore_cancellation(planted.swallows, may_return=True).findings == ()


def test_tasks_may_be_left_to_their_nursery() -> None:
    """``may_leave_tasks`` says that somebody else ends them."""
    done = explore_cancellation(planted.leaves_task, around=planted.a_nursery, may_leave_tasks=True)
    assert done.findings == ()


def test_clock_may_be_mocked() -> None:
    """An hour passes at once, a deadlock is found all the same."""

    async def sleeps() -> None:
        await trio.sleep(3600)

    assert explore_cancellation(sleeps, clock=mocked).reached == 2
    with pytest.raises(CancellationLeak, match="it did not end"):
        explore_cancellation(planted.deadlocks, clock=mocked)


def test_second_cancellation_is_an_option() -> None:
    """Without it, nobody sees that the clean-up cannot bear it."""
    assert explore_cancellation(planted.cleans_up_in_time, second=False).in_cleanup == 0


def test_garbage_is_an_option() -> None:
    """What only the collector of garbage complains of is found, if it is asked."""

    async def forgets_coroutine() -> None:
        with contextlib.suppress(ZeroDivisionError):
            await trio.lowlevel.checkpoint()
            return
        raise AssertionError

    async def leaves_garbage() -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            loop: list[object] = [forgets_coroutine()]
            loop.append(loop)  # so that only the collector can free it
            raise

    with pytest.raises(CancellationLeak, match=r"garbage: coroutine .*forgets_coroutine.* was never awaited"):
        explore_cancellation(leaves_garbage, garbage=True)


def test_channels_are_scanned_for_on_demand() -> None:
    """An end that was not closed is found only where it is asked for."""

    async def forgets() -> None:
        send, receive = trio.open_memory_channel[int](1)
        await trio.lowlevel.checkpoint()
        send.close()
        receive.close()

    assert explore_cancellation(forgets).findings == ()
    with pytest.raises(CancellationLeak, match="MemorySendChannel not closed"):
        explore_cancellation(forgets, scan=["channels"])


def test_another_error_is_a_warning() -> None:
    """It is not a fault to fail when one is cancelled, but it is told."""

    async def fails() -> None:
        try:
            await trio.sleep(0.001)
        except trio.Cancelled:
            raise ValueError("it went wrong") from None

    done = explore_cancellation(fails)
    assert done.findings == ()
    assert len(done.warnings) == 1
    assert done.warnings[0].startswith(
        "raised instead of Cancelled: ValueError: it went wrong; cancelled at "
    )


def test_function_must_succeed_by_itself() -> None:
    """Its own error leaves bare, and a fault that needs no cancellation is said to need none."""

    async def fails() -> None:
        raise ValueError("it never works")

    async def leaks() -> None:
        planted.open_null()
        await trio.lowlevel.checkpoint()

    with pytest.raises(ValueError, match="it never works"):
        explore_cancellation(fails)
    with pytest.raises(CancellationLeak, match="without any cancellation"):
        explore_cancellation(leaks)


def test_what_stands_around_may_fail() -> None:
    """An error of the surroundings is a fault: the function has upset them."""

    @asynccontextmanager
    async def strict() -> AsyncIterator[list[int]]:
        items: list[int] = []
        yield items
        assert items == [1, 2], "one is missing"

    async def adds(items: list[int]) -> None:
        items.append(1)
        await trio.lowlevel.checkpoint()
        items.append(2)

    with pytest.raises(CancellationLeak, match="one is missing") as caught:
        explore_cancellation(adds, around=strict)
    assert caught.value.findings[0].fault == "around"


def test_arguments_follow_what_is_around() -> None:
    """`around` gives the first argument, then come the function's own."""
    given = []

    async def takes(*args: object) -> None:
        given.append(args)
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def one() -> AsyncIterator[int]:
        yield 1

    explore_cancellation(takes, 2, 3, around=one)
    explore_cancellation(takes, 2)
    assert set(given) == {(1, 2, 3), (2,)}


async def test_exploring_inside_trio_is_refused() -> None:
    """It runs trio itself, and says so."""
    with pytest.raises(RuntimeError, match="call it from a function that is not async"):
        explore_cancellation(three_steps)


def test_unknown_scan_is_refused() -> None:
    """A misspelt word would scan for nothing."""
    with pytest.raises(ValueError, match="scan is for channels, locks, not for lock"):
        explore_cancellation(three_steps, scan=["lock"])  # type: ignore[list-item]


@pytest.mark.parametrize("version", ["0.30.0", "0.36.0+dev", "1.0"])
def test_unknown_trio_is_refused(version: str) -> None:
    """Its insides may mean something else."""
    with pytest.raises(UnsupportedTrio, match=f"not in {re.escape(version)}"):
        check_trio(version)


def test_error_of_the_explorer_is_not_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio would switch a failing instrument off in silence; here it ends the exploration."""

    def fail(self: Watch, task: trio.lowlevel.Task) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Watch, "is_shielded", fail)
    with pytest.raises(RuntimeError, match="the cancellation explorer failed") as caught:
        explore_cancellation(three_steps)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

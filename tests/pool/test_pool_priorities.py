"""Priorities: of those who wait the most urgent is served first, and of equals who came first."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_folk import PipeRuntime, PoolConfig, WorkerPool, open_pool
from trio_folk._pool.lines import Lines, Place, PlacedWaiter, Waiter
from trio_folk.testing import Fault, FaultyRuntime, Script


async def queue(
    pool: WorkerPool, nursery: trio.Nursery, *calls: tuple[object, int], key: str | None = None
) -> None:
    """Let these wait, one after another, each with its priority."""
    for what, priority in calls:

        async def call(what: object = what, priority: int = priority) -> None:
            await pool.execute("echo", what, priority=priority, key=key)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()


async def test_the_most_urgent_is_served_first(autojump_clock: MockClock) -> None:
    """And of equals who came first; 0 is everybody's, less than that is later."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        await queue(
            pool, nursery, ("a", 0), ("b", -1), ("c", 5), ("d", 0), ("e", 5), ("f", 10**30), ("g", -1)
        )
        assert pool.statistics().queued == 7
    assert [call.params for call in runtime.calls[1:]] == ["f", "c", "e", "a", "d", "b", "g"]


async def test_keys_and_priorities_are_one_order(autojump_clock: MockClock) -> None:
    """In the slot that a key belongs to."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        await queue(pool, nursery, ("plain", 0), ("urgent", 2))
        await queue(pool, nursery, ("keyed", 0), ("urgent and keyed", 2), ("most urgent", 3), key="k")
    served = [call.params for call in runtime.calls[1:]]
    assert served == ["most urgent", "urgent", "urgent and keyed", "plain", "keyed"]


async def test_no_call_is_ended_for_a_more_urgent_one(autojump_clock: MockClock) -> None:
    """And an idle slot takes the least urgent at once."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: pool.execute("sleep", 5, priority=-9))
        await wait_all_tasks_blocked()
        assert pool.statistics().running == 1
        await pool.execute("echo", 1, priority=9)
        assert trio.current_time() >= 5
        assert pool.statistics().succeeded == 2


async def test_a_call_that_lost_its_worker_is_first_of_its_priority(autojump_clock: MockClock) -> None:
    """It had its turn; those that are more urgent overtake it even so."""
    runtime = FaultyRuntime([Script(at_call={2: Fault.dies(unread=True)})])
    config = PoolConfig(slots=1, min_uptime=0)
    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        await queue(pool, nursery, ("lost", 1), ("later", 1), ("plain", 0))
    served = [call.params for call in runtime.calls if call.worker != "pool/0.1"]
    assert served == ["lost", "later", "plain"]


async def test_a_withdrawn_call_never_runs(autojump_clock: MockClock) -> None:
    """Whatever it waited for; nothing of it is left in the lines."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 5)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            async with trio.open_nursery() as inner:
                await queue(pool, inner, ("a", 1), ("b", -1))
                await queue(pool, inner, ("c", 0), key="k")
        assert pool.statistics().queued == 0
        assert pool.statistics().slots[0].queued == 0
    assert [call.params for call in runtime.calls] == [5]


async def test_an_urgent_lease_waits_before_calls(autojump_clock: MockClock) -> None:
    """And nothing overtakes it, though there is room for a call and none for a lease."""
    runtime = FaultyRuntime(then=Script(concurrency=2))
    order: list[object] = []
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(pool.execute, "sleep", 5)
        await wait_all_tasks_blocked()
        await queue(pool, nursery, ("plain", 0))

        async def lease() -> None:
            async with pool.lease(priority=1) as leased:
                order.append(await leased.execute("echo", "leased"))

        nursery.start_soon(lease)
    assert order == ["leased"]
    assert [call.params for call in runtime.calls[2:]] == ["leased", "plain"]


async def test_a_map_of_low_priority_leaves_the_slots_to_others(autojump_clock: MockClock) -> None:
    """While others wait all the time, none of it is begun, but for what was before they came."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:

        async def background() -> None:
            async with pool.map(operator.neg, range(100), chunk=1, priority=-1) as results:
                assert len([each async for each in results]) == 100

        async def caller() -> None:
            for _ in range(20):
                await pool.execute("echo", "urgent")

        for _ in range(3):
            nursery.start_soon(caller)
        nursery.start_soon(background)
    places = [place for place, call in enumerate(runtime.calls) if call.params == "urgent"]
    assert len(runtime.calls) == 160
    assert places[-1] < 60 + 3


@pytest.mark.parametrize("priority", [1.5, "high", True])
async def test_what_is_no_priority_is_refused(autojump_clock: MockClock, priority: Any) -> None:
    """At once, by name."""
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(TypeError, match="priority is a whole number"):
            await pool.execute("echo", 1, priority=priority)
        with pytest.raises(TypeError, match="priority is a whole number"):
            pool.map(operator.neg, [1], priority=priority)
        with pytest.raises(TypeError, match="priority is a whole number"):
            async with pool.lease(priority=priority):
                pass


async def test_priorities_with_real_workers_that_hold_calls() -> None:
    """Every call is answered, urgent or not, while hundreds are under way."""
    async with open_pool(PipeRuntime.python(), slots=2) as pool:
        answers: list[int] = []

        async def caller(number: int) -> None:
            for step in range(20):
                answers.append(await pool.run_sync(abs, -number, priority=(number + step) % 3 - 1))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(64):
                    nursery.start_soon(caller, number)
        assert sorted(answers) == sorted([*range(64)] * 20)
        assert (pool.statistics().queued, pool.statistics().held) == (0, 0)


# -- the lines, by themselves

TASK: Any = None
COMERS = st.lists(
    st.tuples(st.sampled_from(["plain", "any", 0, 1]), st.integers(-2, 2), st.booleans()), max_size=30
)


@given(COMERS, st.data())
def test_lines_serve_by_priority_then_the_unlucky_then_who_came_first(
    comers: Any, data: st.DataObject
) -> None:
    """The foremost of a slot's line, of those without a key and of those beside the lines, for each slot."""
    lines = Lines()
    waiting: dict[Waiter, tuple[Any, int, bool, int]] = {}
    for turn, (kind, priority, first) in enumerate(comers):
        if kind == "plain":
            waiter = Waiter(TASK)
            priority = 0
            lines.number(waiter, first=first)
        else:
            key = None if kind == "any" else "k"
            waiter = PlacedWaiter(TASK, Place(key, priority))
            lines.number(waiter, first=first)
            lines.add(waiter, None if kind == "any" else kind)
        waiting[waiter] = (kind, -priority, not first, turn)
    if data.draw(st.booleans()):  # the slots change, and everybody belongs where he did
        lines.move([(waiter, waiting[waiter][0]) for waiter in lines.keyed()])
    while waiting:
        slot = data.draw(st.sampled_from([0, 1]))
        mine = {each: what for each, what in waiting.items() if what[0] in ("plain", "any", slot)}
        plain = min(
            (each for each, what in mine.items() if what[0] == "plain"),
            key=lambda each: waiting[each][1:],
            default=None,
        )
        expected = min(mine, key=lambda each: waiting[each][1:], default=None)
        assert lines.foremost(slot, plain) is expected
        if expected is None:
            expected = data.draw(st.sampled_from([*waiting]))
        if isinstance(expected, PlacedWaiter):
            lines.remove(expected)
        del waiting[expected]
        assert lines.count == sum(isinstance(each, PlacedWaiter) for each in waiting)
    assert lines.clear() == []

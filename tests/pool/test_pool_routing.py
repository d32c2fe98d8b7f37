"""Keys: calls with the same key run in the same slot, and move only while that one cannot serve."""

from __future__ import annotations

import math
import operator
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_folk import (
    ConsistentHash,
    CrashLoop,
    FolkError,
    MixedRuntime,
    PipeRuntime,
    PoolBusy,
    PoolClosed,
    PoolConfig,
    QueueTimeout,
    SpawnBudget,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk._pool.accounts import Account, Scope
from trio_folk._pool.dispatch import Dispatch
from trio_folk._pool.incarnation import Incarnation, Slot
from trio_folk._pool.states import SlotEvent
from trio_folk.abc import Key, Router, Rung
from trio_folk.testing import Fault, FaultyRuntime, Script

MANY = SpawnBudget(1000, 30)


def slot_of(runtime: FaultyRuntime, what: object) -> int:
    """The slot that a call with these params ran in last."""
    worker = [call.worker for call in runtime.calls if call.params == what][-1]
    return int(worker.partition("/")[2].partition(".")[0])


def key_of(slot: int, slots: int = 4) -> str:
    """A key that belongs to this slot while all serve."""
    router = ConsistentHash()
    here = tuple(range(slots))
    return next(key for key in map(str, range(1000)) if router.route(key, here, int) == slot)


class Fixed(Router):
    """Answers what it was told to."""

    def __init__(self, answer: Callable[[Key, tuple[int, ...], Callable[[int], int]], Any]) -> None:
        self.answer = answer
        self.asked: list[Key] = []

    def __repr__(self) -> str:
        return "<Fixed>"

    def route(self, key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        self.asked.append(key)
        answer: int = self.answer(key, slots, load)
        return answer


async def test_calls_of_one_key_run_in_one_slot(autojump_clock: MockClock) -> None:
    """Methods, functions, streams' and leases' workers alike; and many keys use all slots."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=4) as pool:
        await pool.wait_ready(4)
        for number in range(40):
            for _ in range(3):
                await pool.execute("echo", number, key=f"customer-{number}")
                assert await pool.run_sync(operator.neg, number, key=f"customer-{number}") == -number
            async with pool.lease(key=f"customer-{number}") as lease:
                await lease.execute("echo", number)
    used = [{call.worker for call in runtime.calls if call.params == number} for number in range(40)]
    assert all(len(workers) == 1 for workers in used)
    assert len(set.union(*used)) == 4


async def test_a_call_with_a_key_waits_for_its_slot_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    """Though the other slot is idle, which takes whatever has no key."""
    runtime = FaultyRuntime()
    key = key_of(1, 2)
    async with open_pool(runtime, slots=2) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        nursery.start_soon(lambda: pool.execute("sleep", 10, key=key))
        await wait_all_tasks_blocked()
        for number in range(5):
            nursery.start_soon(lambda number=number: pool.execute("echo", number, key=key))
        await wait_all_tasks_blocked()
        statistics = pool.statistics()
        assert (statistics.queued, statistics.running) == (5, 1)
        assert [slot.queued for slot in statistics.slots] == [0, 5]
        with trio.fail_after(1):
            for _ in range(20):
                await pool.execute("sleep", 0.01)
    assert [slot_of(runtime, number) for number in range(5)] == [1] * 5


async def test_a_slot_serves_those_with_keys_and_those_without_in_their_order(
    autojump_clock: MockClock,
) -> None:
    """First come, first served; neither kind starves the other."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", 1)
        await wait_all_tasks_blocked()
        for number in range(10):
            key = "k" if number % 3 else None
            nursery.start_soon(lambda number=number, key=key: pool.execute("echo", number, key=key))
            await wait_all_tasks_blocked()
    assert [call.params for call in runtime.calls] == [1, *range(10)]


async def test_keys_move_while_their_slot_cannot_boot_and_come_back(autojump_clock: MockClock) -> None:
    """The calls that wait, too; and no key of another slot moves."""
    dead: set[int] = set()
    runtime = FaultyRuntime(lambda birth: Script(boot="dies" if birth.id.slot in dead else "ready"))
    keys = {slot: key_of(slot) for slot in range(4)}
    config = PoolConfig(slots=4, min_uptime=0, budget=MANY)
    async with open_pool(runtime, config=config) as pool:
        await pool.wait_ready(4)
        dead.add(2)

        async def dies() -> None:
            with pytest.raises(WorkerDied):
                await pool.execute("sleep", math.inf, key=keys[2])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dies)
            await wait_all_tasks_blocked()
            nursery.start_soon(lambda: pool.execute("echo", "waits", key=keys[2]))
            await wait_all_tasks_blocked()
            worker = pool._core.slots[2].incarnation
            assert worker is not None
            worker.handle.terminate("killed by the test", Rung.KILL)
        assert slot_of(runtime, "waits") != 2
        assert await pool.execute("echo", "moved", key=keys[2]) == "moved"
        for slot in (0, 1, 3):
            await pool.execute("echo", f"key {slot}", key=keys[slot])
            assert slot_of(runtime, f"key {slot}") == slot
        assert slot_of(runtime, "moved") != 2
        dead.clear()
        await trio.sleep(60)
        await pool.execute("echo", "back", key=keys[2])
        assert slot_of(runtime, "back") == 2


async def test_a_call_that_waits_moves_when_its_slot_fails_to_boot(autojump_clock: MockClock) -> None:
    """To an idle worker, which it gets at once: nobody has to make it a second offer."""
    runtime = FaultyRuntime(
        lambda birth: (
            Script(boot="dies", boot_delay=5)
            if birth.id.slot == 1 and birth.id.incarnation > 1
            else Script(at_call={1: Fault.dies()} if birth.id.slot == 1 else {})
        )
    )
    key = key_of(1, 2)
    async with open_pool(runtime, config=PoolConfig(slots=2, min_uptime=0, budget=MANY)) as pool:
        await pool.wait_ready(2)
        with pytest.raises(WorkerDied):
            await pool.execute("echo", "kills", key=key)
        began = trio.current_time()
        await pool.execute("echo", "moves", key=key)
        assert 4 < trio.current_time() - began < 6
        assert slot_of(runtime, "moves") == 0


async def test_a_slot_has_no_keys_before_its_first_worker_is_ready(autojump_clock: MockClock) -> None:
    """A slot whose boot hangs keeps nobody, not even until boot_timeout."""
    runtime = FaultyRuntime(lambda birth: Script(boot="never" if birth.id.slot else "ready"))
    async with open_pool(runtime, slots=4) as pool:
        with trio.fail_after(1):
            for number in range(20):
                await pool.execute("echo", number, key=number)
        assert {call.worker for call in runtime.calls} == {"pool/0.1"}


async def test_a_key_waits_for_the_next_worker_of_its_slot(autojump_clock: MockClock) -> None:
    """One that is recycled keeps its keys for its successor."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    async with open_pool(runtime, config=PoolConfig(slots=3, max_jobs=2, recycle_jitter=0)) as pool:
        await pool.wait_ready(3)
        for number in range(10):
            await pool.execute("echo", number, key="k")
    assert len({slot_of(runtime, number) for number in range(10)}) == 1
    assert len({call.worker for call in runtime.calls}) == 5


async def test_a_reload_keeps_keys_in_their_slots(autojump_clock: MockClock) -> None:
    """And the calls that wait for one."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=3) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(3)
        await pool.execute("echo", "before", key="k")
        nursery.start_soon(lambda: pool.execute("sleep", 20, key="k"))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: pool.execute("echo", "waits", key="k"))
        await wait_all_tasks_blocked()
        await pool.reload()
        await pool.execute("echo", "after", key="k")
    assert len({slot_of(runtime, what) for what in ("before", "waits", "after")}) == 1


async def test_an_elastic_pool_gives_keys_to_the_slots_that_it_grows_by(autojump_clock: MockClock) -> None:
    """When they serve; and takes them back with them."""
    runtime = FaultyRuntime(then=Script(boot_delay=1))
    config = PoolConfig(slots=4, min_slots=1, idle_timeout=60)
    async with open_pool(runtime, config=config) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(lambda number=number: pool.execute("sleep", 5, key=number))
        assert len({call.worker for call in runtime.calls}) == 4
        assert pool._core.routing._homes == (0, 1, 2, 3)
        await trio.sleep(200)
        assert pool._core.routing._homes == (0,)
        await pool.execute("echo", "alone", key="k")
        assert slot_of(runtime, "alone") == 0


async def test_a_key_that_waits_while_others_are_idle_does_not_make_a_pool_grow(
    autojump_clock: MockClock,
) -> None:
    """More slots would not help it, and nobody polls whether they would."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=PoolConfig(slots=4, min_slots=2)) as pool:
        await pool.wait_ready(2)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lambda: pool.execute("sleep", 100, key="k"))
        assert len(runtime.births) == 2


async def test_a_key_makes_nobody_wait_beyond_its_bounds(autojump_clock: MockClock) -> None:
    """QueueTimeout, PoolBusy and max_queue are as for every call; the errors speak of its slot."""
    async with open_pool(FaultyRuntime(), config=PoolConfig(slots=2, max_queue=2)) as pool:
        await pool.wait_ready(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: pool.execute("sleep", 10, key="k"))
            await wait_all_tasks_blocked()
            with pytest.raises(QueueTimeout, match="where the key 'k' belongs"):
                await pool.execute("echo", 1, key="k", queue_timeout=1)
            with pytest.raises(PoolBusy, match="where the key 'k' belongs"):
                await pool.execute("echo", 1, key="k", queue_timeout=0)
            for _ in range(2):
                nursery.start_soon(lambda: pool.execute("echo", 1, key="k"))
            await wait_all_tasks_blocked()
            with pytest.raises(PoolBusy, match="2 calls wait"):
                await pool.execute("echo", 1, key="k")
        assert pool.statistics().queued == 0


async def test_those_who_wait_with_a_key_learn_of_a_crash_loop(autojump_clock: MockClock) -> None:
    """And of the end of the pool, as everybody."""
    runtime = FaultyRuntime([Script(after_ready={5: Fault.dies()})], then=Script(boot="dies"))
    config = PoolConfig(slots=1, budget=SpawnBudget(3, 1000), min_uptime=0, on_crash_loop="degrade")
    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:

        async def call(key: Key | None, priority: int) -> None:
            with pytest.raises((CrashLoop, WorkerDied)):
                await pool.execute("sleep", math.inf, key=key, priority=priority)

        for key, priority in [("k", 0), ("k", 5), (None, 5), (None, 0)]:
            nursery.start_soon(call, key, priority)
    assert pool.statistics().queued == 0


@pytest.mark.parametrize("answer", [7, -1, 1.0, None, "0", True])
async def test_a_router_that_names_no_slot_fails_the_call(autojump_clock: MockClock, answer: object) -> None:
    """By name; the call never ran, and the pool serves on."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, slots=2, router=Fixed(lambda *_: answer)) as pool:
        await pool.wait_ready(2)
        with pytest.raises(FolkError, match=r"<Fixed> named .*, which is none of the slots \(0, 1\)"):
            await pool.execute("echo", 1, key="k")
        with pytest.raises(FolkError, match="<Fixed> named"):
            async with pool.lease(key="k"):
                pass
        with pytest.raises(FolkError, match="<Fixed> named"):
            async with pool.stream("count", key="k"):
                pass
        assert await pool.execute("echo", 1) == 1
        assert (pool.statistics().queued, pool._core.active) == (0, 0)


async def test_what_a_router_raises_is_the_cause(autojump_clock: MockClock) -> None:
    """Of a FolkError, which says which router, and which key."""

    def fail(*_: object) -> int:
        raise ZeroDivisionError("a mistake")

    async with open_pool(FaultyRuntime(), slots=2, router=Fixed(fail)) as pool:
        with pytest.raises(
            FolkError, match=r"<Fixed> raised ZeroDivisionError.*the key \('a', 1\)"
        ) as caught:
            await pool.execute("echo", 1, key=("a", 1))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_router_that_fails_when_slots_change_ends_those_who_wait(autojump_clock: MockClock) -> None:
    """Each with an error of its own; supervision goes on."""

    def answer(key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        return {0: 0}[len(slots) - 2]  # of two slots the first; else it fails

    runtime = FaultyRuntime(lambda birth: Script(boot_delay=5 if birth.id.slot == 2 else 0))
    async with open_pool(runtime, slots=3, router=Fixed(answer)) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        nursery.start_soon(lambda: pool.execute("sleep", 50, key="runs"))
        await wait_all_tasks_blocked()

        async def wait() -> None:
            with pytest.raises(FolkError, match="<Fixed> raised KeyError"):
                await pool.execute("echo", 1, key="waits")

        for _ in range(3):
            nursery.start_soon(wait)
        await pool.wait_ready(3)
        await wait_all_tasks_blocked()
        assert pool.statistics().queued == 0
        assert await pool.execute("echo", 1) == 1


async def test_a_router_that_exits_ends_the_pool_and_every_wait(autojump_clock: MockClock) -> None:
    """Supervision cannot go on then; those who wait are told, and hang nowhere."""

    def answer(key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        if len(slots) == 3:
            raise SystemExit("a router has no business to do that")
        return 0

    runtime = FaultyRuntime(lambda birth: Script(boot_delay=5 if birth.id.slot == 2 else 0))
    ended: list[str] = []

    async def wait(pool: WorkerPool, method: str, key: Key) -> None:
        with pytest.raises((PoolClosed, WorkerDied)):
            await pool.execute(method, math.inf, key=key)
        ended.append(method)

    async with trio.open_nursery() as nursery:
        with pytest.raises(SystemExit, match="no business"):
            async with open_pool(runtime, slots=3, router=Fixed(answer)) as pool:
                await pool.wait_ready(2)
                nursery.start_soon(wait, pool, "sleep", "runs")
                await wait_all_tasks_blocked()
                for key in range(3):
                    nursery.start_soon(wait, pool, "echo", key)
                await trio.sleep_forever()
    assert sorted(ended) == ["echo", "echo", "echo", "sleep"]


async def test_a_router_of_ones_own_sees_the_load(autojump_clock: MockClock) -> None:
    """What runs and what waits, slot by slot; here each call goes to the least of it."""
    seen: list[dict[int, int]] = []

    def least(key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        seen.append({slot: load(slot) for slot in slots})
        return min(slots, key=load)

    async with open_pool(FaultyRuntime(), slots=2, router=Fixed(least)) as pool:
        await pool.wait_ready(2)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(lambda number=number: pool.execute("sleep", 1, key=number))
                await wait_all_tasks_blocked()
    assert {0: 0, 1: 0} in seen
    assert {0: 1, 1: 1} in seen
    assert {0: 2, 1: 1} in seen


async def test_a_load_that_is_asked_for_by_a_wrong_number_is_the_routers_mistake(
    autojump_clock: MockClock,
) -> None:
    """Not a silent zero."""
    async with open_pool(FaultyRuntime(), slots=2, router=Fixed(lambda key, slots, load: load(9))) as pool:
        with pytest.raises(FolkError, match="9 is none of the slots"):
            await pool.execute("echo", 1, key="k")


async def test_a_router_is_not_asked_about_calls_without_a_key(autojump_clock: MockClock) -> None:
    """It could not keep them waiting if it wanted to."""
    router = Fixed(lambda *_: 1 // 0)
    async with open_pool(FaultyRuntime(), slots=2, router=router) as pool:
        await pool.execute("echo", 1)
        await pool.execute("echo", 1, priority=3)
        async with pool.map(operator.neg, range(10), priority=-1) as results:
            assert [each async for each in results] == [-each for each in range(10)]
    assert router.asked == []


@pytest.mark.parametrize("key", [1.5, object(), ["a"], ("a", None)])
async def test_what_is_no_key_is_refused_at_once(autojump_clock: MockClock, key: Any) -> None:
    """Before a slot is taken; None is no key."""
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(TypeError, match="a key is"):
            await pool.execute("echo", 1, key=key)
        with pytest.raises(TypeError, match="a key is"):
            pool.stream("count", key=key)
        assert pool.statistics().slots[0].jobs == 0
        assert await pool.execute("echo", 1, key=None) == 1
        assert await pool.execute("echo", 1, key=0) == 1


async def test_what_is_no_router_is_refused() -> None:
    """At once."""
    with pytest.raises(TypeError, match="router is a"):
        async with open_pool(FaultyRuntime(), router=ConsistentHash):  # type: ignore[arg-type]
            pass


async def test_local_workers_come_first(autojump_clock: MockClock) -> None:
    """Whichever was used last; the overflow is for what they cannot take."""
    near, far = FaultyRuntime(), FaultyRuntime()
    async with open_pool(MixedRuntime((near, 2), (far, 2))) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.execute, "sleep", 1)
        assert (len(near.calls), len(far.calls)) == (2, 2)
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(pool.execute, "sleep", 1)
        assert (len(near.calls), len(far.calls)) == (22, 2)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.execute, "sleep", 1)
        assert (len(near.calls), len(far.calls)) == (24, 3)


async def test_the_overflow_has_no_workers_until_calls_wait(autojump_clock: MockClock) -> None:
    """With min_slots, and none for long after."""
    near, far = FaultyRuntime(), FaultyRuntime()
    config = PoolConfig(slots=4, min_slots=2, idle_timeout=60)
    async with open_pool(MixedRuntime((near, 2), (far, 2)), config=config) as pool:
        await pool.wait_ready(2)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(pool.execute, "sleep", 1)
        assert far.births == []
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.execute, "sleep", 1)
        assert (len(far.births), far.alive) == (2, 2)
        await trio.sleep(200)
        assert (near.alive, far.alive) == (2, 0)


async def test_the_least_loaded_worker_is_taken(autojump_clock: MockClock) -> None:
    """Of those with a free seat, when none is idle; however the loads came about."""
    runtime = FaultyRuntime(then=Script(concurrency=4))
    async with open_pool(runtime, slots=2) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        one, other = (slot.incarnation for slot in pool._core.slots)
        assert one is not None
        assert other is not None
        for seconds in (100, 1, 100, 1, 100, 1):
            nursery.start_soon(pool.execute, "sleep", seconds)
            await wait_all_tasks_blocked()
        assert (one.load, other.load) == (3, 3)
        await trio.sleep(2)
        assert sorted((one.load, other.load)) == [0, 3]
        for expected in ([1, 3], [2, 3], [3, 3]):
            nursery.start_soon(pool.execute, "sleep", 50)
            await wait_all_tasks_blocked()
            assert sorted((one.load, other.load)) == expected
        nursery.cancel_scope.cancel()


async def test_keys_with_real_workers_that_hold_calls() -> None:
    """Short calls are given ahead to their slot; those behind a long one come back, and wait for it there."""
    async with open_pool(PipeRuntime.python(), slots=2) as pool:
        with trio.fail_after(60):
            await pool.wait_ready(2)
            pids: dict[int, set[int]] = {}

            async def caller(number: int) -> None:
                for _ in range(50):
                    pids.setdefault(number, set()).add(await pool.run_sync(os.getpid, key=number))

            async with trio.open_nursery() as nursery:
                for number in range(16):
                    nursery.start_soon(caller, number)
            assert all(len(each) == 1 for each in pids.values())
            assert len(set.union(*pids.values())) == 2
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: pool.run_sync(time.sleep, 0.3, key=3))
                await trio.sleep(0.1)
                for _ in range(10):
                    nursery.start_soon(caller, 3)
            assert len(pids[3]) == 1
            assert pool.statistics().died == 0


async def test_a_lease_of_a_keys_worker_is_not_starved_by_calls_that_it_holds() -> None:
    """However many of them come: none is given to that worker before."""
    async with open_pool(PipeRuntime.python(), slots=2) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)

        async def caller() -> None:
            while True:
                await pool.run_sync(abs, -1)

        for _ in range(16):
            nursery.start_soon(caller)
        while not pool.statistics().held:
            await trio.sleep(0.001)
        with trio.fail_after(30):
            for number in range(20):
                async with pool.lease(key=number) as lease:
                    assert await lease.run_sync(abs, -number) == number
        nursery.cancel_scope.cancel()


async def test_a_worker_that_somebody_waits_for_holds_no_other_calls_first() -> None:
    """Found full, or not to be held: until it is offered again nobody is given to it ahead."""
    handle: Any = SimpleNamespace(
        id="pool/0.1",
        rank=0,
        concurrency=1,
        holds=True,
        condemned=trio.Event(),
        tell_answers=lambda told: None,
    )
    account = Account(Scope("pool"), SpawnBudget(1, 1))
    slot, dispatch = Slot(0, account), Dispatch(math.inf)
    slot.on(SlotEvent.SPAWN)
    slot.on(SlotEvent.READY)
    incarnation = Incarnation(slot, handle, None, PoolConfig(prefetch=3), 0.0)
    dispatch.offer(incarnation)
    assert dispatch.take(incarnation, at_once=True, alone=False)
    assert dispatch.decide() is incarnation, "it may hold some"
    assert not dispatch.take(incarnation, at_once=False, alone=True)
    assert dispatch.decide() is None
    assert dispatch.release(incarnation), "and it is offered when one of its calls ends"
    dispatch.offer(incarnation)
    assert dispatch.take(incarnation, at_once=False, alone=False)
    assert (incarnation.load, dispatch.held) == (2, 1)

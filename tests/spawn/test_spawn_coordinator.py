"""The coordinator: permits, blocks, waits, and what can be seen of it."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import pytest
import trio
import trio.testing

from trio_folk._errors import BootFailed, SpawnBudgetExhausted, SpawnInProgress
from trio_folk._spawn import SpawnBudget, SpawnCoordinator, SpawnPermit
from trio_folk._spawn.backoff import BASE, CAP, Backoff
from trio_folk._spawn.coordinator import PRUNE_AT
from trio_folk._spawn.permit import PermitState


@pytest.fixture
def clock() -> Any:
    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


@pytest.fixture
def coordinator(clock: Any) -> SpawnCoordinator:
    return SpawnCoordinator(SpawnBudget(2, 30.0), clock=clock, seed=1)


def test_a_second_attempt_of_a_key_is_refused_however_long_the_first_takes(
    coordinator: SpawnCoordinator, clock: Any
) -> None:
    """Neither time nor a look at the statistics ends an attempt (SYSTEMS E1)."""
    coordinator.try_begin("key")
    for _ in range(3):
        clock.now += 1000
        coordinator.statistics()
        with pytest.raises(SpawnInProgress, match="has been in flight for") as refusal:
            coordinator.try_begin("key")
        assert refusal.value.retry_after > 0
    coordinator.try_begin("other")


def test_a_stale_permit_ends_nothing(coordinator: SpawnCoordinator) -> None:
    """An older attempt of the same key is another attempt (SYSTEMS E2)."""
    old = coordinator.try_begin("key")
    old.failed()
    new = coordinator.try_begin("key")
    for verdict in (old.succeeded, old.failed, old.stable, old.cancel):
        verdict()
    assert (old.state, new.state) == (PermitState.FAILED, PermitState.IN_FLIGHT)
    assert coordinator.snapshot("key").used == 2
    with pytest.raises(SpawnInProgress):
        coordinator.try_begin("key")


def test_the_end_of_an_old_attempt_does_not_free_its_key(coordinator: SpawnCoordinator) -> None:
    """A worker dies young while its successor is being born: that birth is still in flight."""
    old = coordinator.try_begin("key")
    old.succeeded()
    coordinator.try_begin("key")
    old.failed()
    with pytest.raises(SpawnInProgress):
        coordinator.try_begin("key")


def test_a_clock_that_goes_back_stands_still(coordinator: SpawnCoordinator, clock: Any) -> None:
    """Nothing is won by it, and nothing breaks."""
    coordinator.try_begin("key").failed()
    clock.now -= 50
    coordinator.try_begin("key").failed()
    with pytest.raises(SpawnBudgetExhausted) as refusal:
        coordinator.try_begin("key")
    assert refusal.value.retry_after == 30.0
    clock.now += 50 + 30
    coordinator.try_begin("key")


def test_success_gives_nothing_back_and_stability_does(coordinator: SpawnCoordinator) -> None:
    """What starts well and dies at once is bounded like what does not start (SYSTEMS E5)."""
    for _ in range(2):
        permit = coordinator.try_begin("key")
        permit.succeeded()
        permit.failed(BootFailed("died young"))
    with pytest.raises(SpawnBudgetExhausted) as refusal:
        coordinator.try_begin("key")
    assert str(refusal.value.__cause__) == "died young"
    assert refusal.value.retry_after == 30.0
    lasting = coordinator.try_begin("other")
    lasting.succeeded()
    lasting.stable()
    assert coordinator.snapshot("other").remaining == 2


def test_planned_ends_spend_nothing(coordinator: SpawnCoordinator) -> None:
    """Recycled a hundred times within the window, in flight or on probation."""
    for _ in range(100):
        permit = coordinator.try_begin("key")
        permit.cancel()
        permit = coordinator.try_begin("key")
        permit.succeeded()
        permit.cancel()
    assert coordinator.snapshot("key").used == 0
    assert coordinator.backoff("key") == 0


def test_slots_share_the_window_and_not_the_flight(coordinator: SpawnCoordinator) -> None:
    """Single flight is per key, the window per scope."""
    first = coordinator.try_begin(("pool", 0), scope="pool")
    coordinator.try_begin(("pool", 1), scope="pool")
    first.failed()
    with pytest.raises(SpawnBudgetExhausted, match="1 failed, 1 in flight"):
        coordinator.try_begin(("pool", 2), scope="pool")
    coordinator.try_begin(("pool", 2), scope="another pool")
    assert coordinator.snapshot("pool").in_flight == (("pool", 1),)


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (None, PermitState.PROBATION),
        (ValueError(), PermitState.FAILED),
        (ExceptionGroup("", [ValueError()]), PermitState.FAILED),
        (BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), PermitState.FAILED),
        (KeyboardInterrupt(), PermitState.CANCELLED),
        (BaseExceptionGroup("", [KeyboardInterrupt(), SystemExit()]), PermitState.CANCELLED),
        (GeneratorExit(), PermitState.CANCELLED),
    ],
)
def test_a_block_without_a_verdict_is_judged_by_its_end(
    coordinator: SpawnCoordinator, raised: BaseException | None, state: PermitState
) -> None:
    """Normally succeeded, by an exception failed, by anything that is no program's fault cancelled."""
    with contextlib.suppress(BaseException):
        with coordinator.try_begin("key") as permit:
            if raised is not None:
                raise raised
    assert permit.state is state
    assert coordinator.statistics().in_flight == 0
    assert coordinator.failures("key") == ((raised,) if state is PermitState.FAILED else ())


def test_a_verdict_in_the_block_stands(coordinator: SpawnCoordinator) -> None:
    """What the block says of its attempt is not overruled by how it ends."""
    with pytest.raises(ValueError), coordinator.try_begin("key") as permit:
        permit.cancel()
        raise ValueError
    assert permit.state is PermitState.CANCELLED
    with coordinator.try_begin("key") as permit:
        permit.failed(OSError("by hand"))
    assert permit.state is PermitState.FAILED


def test_one_scope_has_one_budget(coordinator: SpawnCoordinator, clock: Any) -> None:
    """Two pools of one name with different budgets are told; with nothing on record either may come."""
    coordinator.try_begin("a", scope="pool", budget=SpawnBudget(5, 10.0)).failed()
    coordinator.try_begin("a", scope="pool").cancel()
    with pytest.raises(ValueError, match="one scope has one budget"):
        coordinator.try_begin("a", scope="pool", budget=SpawnBudget(6, 10.0))
    clock.now += 10
    assert coordinator.try_begin("a", scope="pool", budget=SpawnBudget(6, 10.0)).remaining == 5


def test_waits_grow_and_are_all_by_chance(clock: Any) -> None:
    """Between nothing and the whole of a doubling wait, never above the longest, the same for the same seed."""

    def waits(seed: int) -> list[float]:
        coordinator = SpawnCoordinator(SpawnBudget(100, 1e6), clock=clock, seed=seed)
        found = []
        for _ in range(40):
            coordinator.try_begin("key").failed()
            found.append(coordinator.backoff("key"))
        assert coordinator.backoff("another") == 0
        coordinator.try_begin("key").stable()
        assert coordinator.backoff("key") == 0
        return found

    for number, wait in enumerate(waits(1)):
        assert 0 <= wait <= min(CAP, BASE * 2.0**number)
    assert max(waits(1)) > CAP / 2
    assert waits(1) == waits(1) != waits(2)


def test_a_wait_passes_and_old_failures_are_forgotten(clock: Any) -> None:
    """The wait shrinks with time; after a window without failures the next is a first one again."""
    backoff = Backoff()
    chance = random.Random(3)
    for _ in range(8):
        backoff.failed(clock.now, 30.0, chance)
    wait = backoff.seconds(clock.now)
    assert backoff.seconds(clock.now + wait / 2) == pytest.approx(wait / 2)
    assert backoff.seconds(clock.now + wait) == 0
    backoff.failed(clock.now + 30, 30.0, chance)
    assert backoff.failures == 1


def test_idle_keys_are_forgotten(coordinator: SpawnCoordinator, clock: Any) -> None:
    """A thousand keys that came once leave no thousand records (SYSTEMS E7)."""
    for number in range(1000):
        clock.now += 10
        coordinator.snapshot(f"seen {number}")
        with pytest.raises(ValueError), coordinator.try_begin(number):
            raise ValueError
    assert len(coordinator._scopes) + len(coordinator._waits) <= PRUNE_AT
    assert len(coordinator.statistics().budgets) == 3  # those of the last window
    for number in range(1000):
        coordinator.try_begin(-number).stable()
    assert len(coordinator._scopes) <= PRUNE_AT


def test_what_is_shown_says_what_is_spent(coordinator: SpawnCoordinator, clock: Any) -> None:
    """Budget, attempts, births in flight and retry-after, in the records and in their repr."""
    permit = coordinator.try_begin("a", scope="pool")
    assert repr(permit) == "<SpawnPermit 'a', attempt 1, in flight>"
    coordinator.try_begin("b", scope="pool").failed()
    clock.now += 10
    told = coordinator.snapshot("pool")
    assert (told.used, told.remaining, told.in_flight, told.failed) == (2, 0, ("a",), 1)
    assert repr(told) == (
        "<BudgetStatistics 'pool': 2 of 2 attempts in 30 s used, 1 in flight, 1 failed, next in 20 s>"
    )
    permit.succeeded()
    assert "1 on probation" in repr(coordinator.snapshot("pool"))
    assert repr(coordinator.statistics()).startswith(
        "<SpawnStatistics 0 in flight, 0 launching, 0 waiting, budgets: [<Budget"
    )
    assert repr(coordinator) == "<SpawnCoordinator 2 in 30 s: 0 in flight>"


async def test_spawn_is_one_attempt(autojump_clock: trio.testing.MockClock) -> None:
    """The block is the attempt; its key is free after it, and a second asker is refused at once."""
    coordinator = SpawnCoordinator()
    async with coordinator.spawn("key") as permit:
        with pytest.raises(SpawnInProgress):
            async with coordinator.spawn("key"):
                raise AssertionError("two at once")
        assert coordinator.statistics().launching == 1
    assert permit.state is PermitState.PROBATION
    permit.stable()
    assert coordinator.snapshot("key").used == 0


async def test_a_crash_loop_of_blocks_is_bounded_per_window(autojump_clock: trio.testing.MockClock) -> None:
    """Somebody who tries for ever gets exactly three attempts in any 30 seconds, each after its wait."""
    coordinator = SpawnCoordinator(seed=5)
    begun = []
    start = trio.current_time()
    with trio.move_on_after(299):
        while True:
            try:
                async with coordinator.spawn("key"):
                    begun.append(trio.current_time() - start)
                    raise BootFailed("no")
            except SpawnBudgetExhausted as refusal:
                await trio.sleep(refusal.retry_after)
            except BootFailed:
                pass
    for first, last in zip(begun, begun[3:], strict=False):
        assert last - first >= 30.0
    assert 25 <= len(begun) <= 30


async def test_spawn_waits_until_its_keys_next_attempt_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The wait that its failures have earned is over when the block begins."""
    coordinator = SpawnCoordinator(SpawnBudget(30, 30.0), seed=1)
    for _ in range(20):
        coordinator.try_begin("key").failed()
    due = trio.current_time() + coordinator.backoff("key")
    assert due > trio.current_time()
    async with coordinator.spawn("key"):
        assert trio.current_time() == due


async def test_launches_at_once_are_bounded_over_all_who_share(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Ten keys, two tokens: never three launches at once."""
    limiter = trio.CapacityLimiter(2)
    coordinator = SpawnCoordinator(limiter=limiter)
    running, most = 0, 0

    async def launch(number: int) -> None:
        nonlocal running, most
        async with coordinator.spawn(number):
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(launch, number)
    assert most == 2


async def test_who_was_refused_is_woken_by_a_change(autojump_clock: trio.testing.MockClock) -> None:
    """While only attempts in flight stand in the way there is no time to wait for, but an event."""
    coordinator = SpawnCoordinator(SpawnBudget(1, 30.0))
    await coordinator.wait_settled("pool")  # nothing on record: at once
    permit = coordinator.try_begin("a", scope="pool")
    with pytest.raises(SpawnBudgetExhausted) as refusal:
        coordinator.try_begin("b", scope="pool")
    assert refusal.value.retry_after == math.inf
    second: list[SpawnPermit] = []

    async def wait_and_ask() -> None:
        await coordinator.wait_settled("pool")
        second.append(coordinator.try_begin("b", scope="pool"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_and_ask)
        await trio.testing.wait_all_tasks_blocked()
        permit.cancel()
    assert second


async def test_who_waits_on_a_scope_that_is_forgotten_is_woken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A record that is pruned, or replaced by one with another budget, leaves nobody asleep."""
    coordinator = SpawnCoordinator()
    async with trio.open_nursery() as nursery:
        for name in ("pruned", "replaced"):
            coordinator.try_begin(name).succeeded()
            nursery.start_soon(coordinator.wait_settled, name)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(31)
        coordinator.try_begin("replaced", budget=SpawnBudget(7, 7.0))
        for number in range(2 * PRUNE_AT):
            coordinator.try_begin(number)


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before a task's n-th step: at each of its checkpoints in turn."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope, self.left = scope, step
        self.task = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("busy", [False, True], ids=["free", "limiter busy"])
@pytest.mark.parametrize("failed", [False, True], ids=["first", "after a failure"])
async def test_spawn_cancelled_at_every_checkpoint_leaves_key_and_budget_free(
    autojump_clock: trio.testing.MockClock, busy: bool, failed: bool
) -> None:
    """While it waits for its turn, for a launch, and in its block."""
    cancelled = 0
    for step in range(1, 50):
        limiter = trio.CapacityLimiter(1)
        coordinator = SpawnCoordinator(limiter=limiter, seed=1)
        if failed:
            coordinator.try_begin("key").failed()
        other = object()
        if busy:
            limiter.acquire_on_behalf_of_nowait(other)

        async def free_later(limiter: trio.CapacityLimiter = limiter, other: object = other) -> None:
            await trio.sleep(5)
            if busy:
                limiter.release_on_behalf_of(other)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(free_later)
            with trio.CancelScope() as scope:
                instrument = CancelAtStep(scope, step)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with coordinator.spawn("key"):
                        for _ in range(3):
                            await trio.sleep(0.5)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
        told = coordinator.snapshot("key")
        assert told.in_flight == ()
        assert told.failed == int(failed)
        assert limiter.borrowed_tokens == 0
        if not scope.cancelled_caught:
            assert told.on_probation == 1
            break
        assert told.on_probation == 0
        cancelled += 1
        coordinator.try_begin("key").cancel()
    else:
        raise AssertionError("it never came through")
    assert cancelled >= 4

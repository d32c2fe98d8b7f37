"""Many askers, one birth."""

from __future__ import annotations

import random
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_folk._errors import BootFailed, SpawnBudgetExhausted, SpawnError, SpawnInProgress
from trio_folk._spawn import JoiningCoordinator, SpawnBudget, SpawnPermit, open_spawn_coordinator
from trio_folk._spawn.permit import PermitState


class Launch:
    """Takes a second, and counts how often it runs, how often at once, and how it ended."""

    def __init__(self, result: Any = None, *, stubborn: bool = False, undo: float = 0) -> None:
        self.result = result
        self.stubborn = stubborn
        self.undo = undo
        self.began = self.running = self.most = self.cancelled = 0
        self.permits: list[SpawnPermit] = []

    async def __call__(self, permit: SpawnPermit) -> Any:
        self.began += 1
        self.permits.append(permit)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            with trio.CancelScope(shield=self.stubborn):
                await trio.sleep(1)
        except trio.Cancelled:
            self.cancelled += 1
            with trio.CancelScope(shield=True):
                await trio.sleep(self.undo)
            raise
        finally:
            self.running -= 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def ask(coordinator: JoiningCoordinator, launch: Launch, found: list[outcome.Outcome[Any]]) -> None:
    try:
        found.append(outcome.Value(await coordinator.join("key", launch)))
    except Exception as error:
        found.append(outcome.Error(error))


@pytest.mark.parametrize("result", [object(), BootFailed("no")], ids=["value", "error"])
async def test_two_hundred_askers_half_of_them_cancelled_share_one_launch(
    autojump_clock: trio.testing.MockClock, result: Any
) -> None:
    """One launch, a hundred identical outcomes, and a traceback that did not grow with each of them."""
    launch, found = Launch(result), []
    chance = random.Random(7)
    scopes = [trio.CancelScope() for _ in range(200)]

    async def asker(scope: trio.CancelScope) -> None:
        await trio.sleep(chance.uniform(0, 0.4))
        with scope:
            await ask(coordinator, launch, found)

    async def cancel_half() -> None:
        for scope in chance.sample(scopes, 100):
            scope.cancel()
            await trio.sleep(chance.uniform(0, 0.009))

    async with open_spawn_coordinator() as coordinator, trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(asker, scope)
        nursery.start_soon(cancel_half)
    assert launch.began == 1
    assert len(found) == 100
    assert all(each == found[0] for each in found)
    if isinstance(result, Exception):
        assert found[0] == outcome.Error(result)
        trace, depth = result.__traceback__, 0
        while trace is not None:
            trace, depth = trace.tb_next, depth + 1
        assert depth < 20
    else:
        assert found[0].unwrap() is result


async def test_the_last_asker_takes_the_launch_with_it(autojump_clock: trio.testing.MockClock) -> None:
    """It goes on when the launch is undone; then the key is free and the attempt given back."""
    launch = Launch(undo=3)
    async with open_spawn_coordinator() as coordinator:
        for _ in range(5):  # more than the budget would allow, if it were spent
            began = trio.current_time()
            with trio.move_on_after(0.5) as scope:
                await coordinator.join("key", launch)
            assert scope.cancelled_caught
            assert trio.current_time() - began == pytest.approx(3.5)
            assert coordinator.snapshot("key").used == 0
            coordinator.try_begin("key").cancel()
    assert launch.cancelled == 5


async def test_nobody_joins_a_launch_that_is_being_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """A newcomer waits for its end and begins another; the two never run at once."""
    launch = Launch("there", undo=3)
    found: list[outcome.Outcome[Any]] = []
    async with open_spawn_coordinator() as coordinator, trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(_later, 1.0, coordinator, launch, found)
            await coordinator.join("key", launch)
    assert found == [outcome.Value("there")]
    assert (launch.began, launch.most) == (2, 1)


async def _later(seconds: float, *args: Any) -> None:
    await trio.sleep(seconds)
    await ask(*args)


async def test_what_succeeds_in_spite_of_its_cancellation_is_not_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Somebody has to own it: the asker that cancelled it gets it."""
    async with open_spawn_coordinator() as coordinator:
        with trio.move_on_after(0.5):
            assert await coordinator.join("key", Launch("here", stubborn=True)) == "here"
            return
    raise AssertionError("the result was lost")


async def test_a_failure_because_of_a_cancellation_spends_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The launch was ended by us; what it says then is no boot failure."""
    async with open_spawn_coordinator() as coordinator:
        with trio.move_on_after(0.5), pytest.raises(BootFailed):
            await coordinator.join("key", Launch(BootFailed("interrupted"), stubborn=True))
        assert coordinator.snapshot("key").used == 0


async def test_failed_births_spend_the_budget_and_are_refused_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each waits for its turn before it is launched; the fourth is refused at once, by the last failure."""
    launch = Launch(BootFailed("broken import"))
    async with open_spawn_coordinator(seed=1) as coordinator:
        for _ in range(3):
            with pytest.raises(BootFailed):
                await coordinator.join("key", launch)
        began = trio.current_time()
        with pytest.raises(SpawnBudgetExhausted) as refusal:
            await coordinator.join("key", launch)
        assert trio.current_time() == began
    assert refusal.value.__cause__ is launch.result
    assert launch.began == 3


async def test_a_birth_stays_on_probation_until_its_permit_says_stable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever launched keeps the permit."""
    launch = Launch()
    async with open_spawn_coordinator(SpawnBudget(1, 30.0)) as coordinator:
        await coordinator.join("key", launch)
        assert launch.permits[0].state is PermitState.PROBATION
        with pytest.raises(SpawnBudgetExhausted) as refusal:
            await coordinator.join("key", launch)
        assert refusal.value.retry_after == 29.0
        launch.permits[0].stable()
        await coordinator.join("key", launch)


async def test_an_attempt_that_somebody_drives_himself_is_not_joined(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its outcome is nobody else's."""
    async with open_spawn_coordinator() as coordinator:
        with coordinator.try_begin("key"), pytest.raises(SpawnInProgress):
            await coordinator.join("key", Launch())


async def test_leaving_the_block_cancels_all_that_is_in_flight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Births with their askers, wherever those are, and permits; afterwards everything is refused."""
    launch = Launch(undo=2)
    found: list[outcome.Outcome[Any]] = []
    async with trio.open_nursery() as nursery:
        async with open_spawn_coordinator() as coordinator:
            nursery.start_soon(ask, coordinator, launch, found)
            permit = coordinator.try_begin("other")
            await trio.sleep(0.5)
        assert launch.cancelled == 1
        assert launch.running == 0
    assert permit.state is PermitState.CANCELLED
    assert isinstance(found[0], outcome.Error)
    assert isinstance(found[0].error, SpawnError)
    assert coordinator.statistics().in_flight == 0
    with pytest.raises(SpawnError, match="block was left"):
        coordinator.try_begin("key")
    with pytest.raises(SpawnError, match="block was left"):
        await coordinator.join("key", launch)


async def test_the_blocks_exception_leaves_bare(autojump_clock: trio.testing.MockClock) -> None:
    """Births have no failures of their own: there is nothing to group."""
    with pytest.raises(KeyError):
        async with open_spawn_coordinator():
            raise KeyError
    with trio.move_on_after(0.1) as scope:
        async with open_spawn_coordinator():
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_exception_survives_a_cancellation_from_outside(autojump_clock: trio.testing.MockClock) -> None:
    """A block that fails while the world around it is cancelled still says of what, birth or no birth."""
    launch, found = Launch(undo=2), []
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError), trio.CancelScope() as scope:
            async with open_spawn_coordinator() as coordinator:
                nursery.start_soon(ask, coordinator, launch, found)
                await trio.sleep(0.5)
                scope.cancel()
                raise KeyError
    assert launch.cancelled == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 40), st.booleans()), max_size=25
    ),
    st.integers(0, 60),
    st.randoms(use_true_random=False),
)
def test_under_random_cancels_nothing_stays_in_flight(
    asks: list[tuple[int, int, int, bool]], leave: int, chance: random.Random
) -> None:
    """Askers of three keys, by join or by a block of their own, come, go and are cancelled at any time."""
    running: dict[int, int] = dict.fromkeys(range(3), 0)

    async def launch(permit: SpawnPermit) -> str:
        key = permit.key
        assert isinstance(key, int)
        running[key] += 1
        assert running[key] == 1, "two births of one key in flight"
        try:
            await trio.sleep(chance.choice([0, 0.3, 1]))
            if chance.random() < 0.3:
                raise BootFailed("by chance")
            return "there"
        finally:
            running[key] -= 1

    async def asker(coordinator: JoiningCoordinator, key: int, come: int, stay: int, join: bool) -> None:
        await trio.sleep(come / 10)
        with trio.move_on_after(stay / 10):
            try:
                if join:
                    assert await coordinator.join(key, launch) == "there"
                else:
                    async with coordinator.spawn(key) as permit:
                        await launch(permit)
            except SpawnError:
                pass

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_spawn_coordinator(
                SpawnBudget(4, 2.0), seed=chance.randrange(1000)
            ) as coordinator:
                for key, come, stay, join in asks:
                    nursery.start_soon(asker, coordinator, key, come, stay, join)
                for _ in range(leave):
                    await trio.sleep(0.1)
                    if not any(running.values()):
                        assert coordinator.statistics().in_flight == 0
            for key in range(3):
                assert coordinator.snapshot(key).in_flight == ()
        assert coordinator.statistics().in_flight == 0
        assert coordinator.limiter.borrowed_tokens == 0
        assert coordinator._births == {}

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

"""A map over real workers: what dies, fails or waits in a chunk costs that chunk at most, and says so."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import map_jobs
import outcome
import pytest
import trio

from trio_folk import ExecTimeout, PipeRuntime, PoolConfig, RemoteError, WorkerDied, open_pool
from trio_folk._pool import lanes

BOUND = 120
BAD = map_jobs.BAD
ENV = {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))}
CONFIG = PoolConfig(slots=2, min_uptime=0, cancel_grace=60)


def numbers(trace: Path) -> list[int]:
    return sorted(map(int, trace.read_text().split()))


async def test_a_death_fails_the_items_of_its_chunk_and_no_other(tmp_path: Path) -> None:
    """Each with an error of its own that says how many were there; nothing is run twice."""
    trace = tmp_path / "ran"
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG, name="mortal") as pool:
            items = itertools.repeat(str(trace)), range(200)
            async with pool.map(map_jobs.note_or_die, *items, chunk=50, window=200, outcomes=True) as results:
                found = [each async for each in results]
            assert pool.statistics().deaths == 1
    assert found[50:] == [outcome.Value(number) for number in range(50, 200)]
    errors = [each.error for each in found[:50] if isinstance(each, outcome.Error)]
    assert len({id(error) for error in errors}) == 50
    for error in errors:
        assert isinstance(error, WorkerDied)
        assert (error.signal, error.worker is not None) == ("SIGKILL", True)
        assert "50 items" in str(error)
    assert numbers(trace) == [*range(BAD + 1), *range(50, 200)]


async def test_items_that_may_run_again_do_one_by_one(tmp_path: Path) -> None:
    """So the one that kills its worker each time is the only one that fails."""
    trace = tmp_path / "ran"
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            items = itertools.repeat(str(trace)), range(100)
            async with pool.map(
                map_jobs.note_or_die, *items, chunk=50, window=100, outcomes=True, idempotent=True
            ) as results:
                found = [each async for each in results]
            items = itertools.repeat(str(tmp_path / "died")), range(100)
            async with pool.map(map_jobs.die_once, *items, chunk=50, window=100, idempotent=True) as numbers:
                assert [each async for each in numbers] == list(range(100))
    bad = found.pop(BAD)
    assert isinstance(bad, outcome.Error)
    assert isinstance(bad.error, WorkerDied)
    assert [each.unwrap() for each in found] == [number for number in range(100) if number != BAD]


@pytest.mark.parametrize("chunk", ["auto", 100])
async def test_one_bad_item_among_a_thousand_fails_alone(chunk: int) -> None:
    """By an exception, and by a result that cannot travel; the workers are unharmed."""
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            for fn, kind in (
                (map_jobs.fail_at_the_bad, LookupError),
                (map_jobs.lock_at_the_bad, RemoteError),
            ):
                async with pool.map(fn, range(1000), outcomes=True, chunk=chunk) as results:
                    found = [each async for each in results]
                bad = found.pop(BAD)
                assert isinstance(bad, outcome.Error)
                assert type(bad.error) is kind
                assert [each.unwrap() for each in found] == [*range(BAD), *range(BAD + 1, 1000)]
            assert pool.statistics().deaths == 0


async def test_a_cancellation_is_noticed_between_two_items(tmp_path: Path) -> None:
    """Of a chunk that would take minutes; the worker lives, and serves on."""
    trace = tmp_path / "began"
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), slots=1, config=CONFIG) as pool:
            pid = await pool.run_sync(os.getpid)
            began = trio.current_time()
            with trio.CancelScope() as scope:
                items = itertools.repeat(str(trace)), range(300_000)
                async with pool.map(map_jobs.nap, *items, chunk=300_000) as results:
                    while not trace.exists():
                        await trio.sleep(0.01)
                    scope.cancel()
                    await results.__anext__()
            assert scope.cancelled_caught
            assert trio.current_time() - began < 30
            assert await pool.run_sync(os.getpid) == pid


async def test_a_slow_item_holds_back_its_chunk_and_no_more(tmp_path: Path) -> None:
    """It comes after ten thousand fast ones, when chunks are at their largest."""
    gate = tmp_path / "gate"
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            items = itertools.repeat(str(gate)), itertools.repeat(10_000), range(20_000)
            async with pool.map(map_jobs.wait_at, *items, ordered=False) as results:
                for _ in range(19_700):
                    assert await results.__anext__() != 10_000
                gate.touch()
                assert 10_000 in [each async for each in results]


async def test_a_chunk_that_turns_out_slow_hands_back_the_rest() -> None:
    """So that all workers share it: forty slow items behind thousands of fast ones are not one worker's."""
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            await pool.wait_ready(2)
            async with pool.map(map_jobs.slow_from, itertools.repeat(5000), range(5040)) as results:
                pids = [each async for each in results][5000:]
    counts = sorted(pids.count(pid) for pid in set(pids))
    assert len(counts) == 2
    assert counts[0] >= 5


async def test_bytes_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound of one call's bytes no two overlap, whatever the window and the slots."""
    monkeypatch.setattr(lanes, "IN_FLIGHT", 1000)
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            await pool.wait_ready(2)
            async with pool.map(map_jobs.interval, [b"x" * 1000] * 20, chunk=1, window=20) as results:
                intervals = [each async for each in results]
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(intervals))


async def test_a_clock_that_runs_out_fails_its_item_alone(tmp_path: Path) -> None:
    """Because items with a clock travel alone; a fixed chunk has as many times the seconds."""
    with trio.fail_after(BOUND):
        async with open_pool(PipeRuntime.python(env=ENV), config=CONFIG) as pool:
            items = itertools.repeat(str(tmp_path / "never")), itertools.repeat(BAD), range(50)
            async with pool.map(map_jobs.wait_at, *items, exec_timeout=3, outcomes=True) as results:
                found = [each async for each in results]
            bad = found.pop(BAD)
            assert isinstance(bad, outcome.Error)
            assert type(bad.error) is ExecTimeout
            assert [each.unwrap() for each in found] == [*range(BAD), *range(BAD + 1, 50)]
            naps = itertools.repeat(str(tmp_path / "began")), range(1000)
            async with pool.map(map_jobs.nap, *naps, chunk=1000, exec_timeout=0.5) as numbers:
                assert len([each async for each in numbers]) == 1000

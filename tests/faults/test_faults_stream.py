"""Streams that go wrong: readers that leave or are slow, generators that disobey, workers that die or lie."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_folk import (
    ApplicationError,
    ExecTimeout,
    FolkError,
    ForkRuntime,
    PipeRuntime,
    PoolConfig,
    ProtocolError,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Runtime

BOUND = 60
HERE = Path(__file__).parent
ENV = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parents[1])))}
PLAIN, EAGER = "stream_jobs:plain", "stream_jobs:eager"
MIB = 1024 * 1024


def spawned(target: str) -> Runtime:
    return PipeRuntime.python(target, env=ENV)


def forked(target: str) -> Runtime:
    return ForkRuntime(target, env=ENV)


def by_hand() -> Runtime:
    return PipeRuntime([sys.executable, str(HERE / "stream_zoo.py")], env=ENV)


each_kind = pytest.mark.parametrize(
    ("way", "target", "method"),
    [
        (spawned, PLAIN, "traced"),
        (forked, PLAIN, "traced"),
        (spawned, EAGER, "traced"),
        (spawned, EAGER, "traced in a thread"),
    ],
)


@asynccontextmanager
async def pool_of(runtime: Runtime, grace: float = BOUND) -> AsyncIterator[WorkerPool]:
    config = PoolConfig(slots=1, cancel_grace=grace, terminate_grace=0.5, min_uptime=0)
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=config) as pool:
            yield pool


async def all_of(pool: WorkerPool, method: str, params: Any = None, **options: Any) -> list[Any]:
    async with pool.stream(method, params, **options) as items:
        return [item async for item in items]


def memory() -> int:
    """This process's resident memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@each_kind
async def test_leaving_early_closes_the_generator_and_keeps_the_worker(
    way: Any, target: str, method: str, tmp_path: Path
) -> None:
    """Its finally block has run when the block is over."""
    trace = tmp_path / "trace"
    async with pool_of(way(target)) as pool:
        pid = await pool.execute("pid")
        async with pool.stream(method, [str(trace), 10**9]) as items:
            async for item in items:
                if item == 100:
                    break
        assert trace.read_text() == "closed"
        assert await pool.execute("pid") == pid


@each_kind
async def test_a_cancelled_reader_ends_the_generator_and_keeps_the_worker(
    way: Any, target: str, method: str, tmp_path: Path
) -> None:
    """Wherever it stands: it waits for credit, or makes items."""
    trace = tmp_path / "trace"
    async with pool_of(way(target)) as pool:
        pid = await pool.execute("pid")
        for seconds in (0.05, 0.0):
            with trio.move_on_after(BOUND) as scope:
                async with pool.stream(method, [str(trace), 10**9]) as items:
                    await anext(items)
                    await trio.sleep(seconds)
                    scope.cancel()
                    await anext(items)
            assert scope.cancelled_caught
            assert trace.read_text() == "closed"
            assert await pool.execute("pid") == pid


@each_kind
async def test_credit_is_never_exceeded(way: Any, target: str, method: str, tmp_path: Path) -> None:
    """A generator is at most the window ahead of its reader, by what it wrote itself."""
    trace = tmp_path / "trace"
    async with pool_of(way(target)) as pool:
        async with pool.stream(method, [str(trace), 10**9], window=5) as items:
            for number in range(20):
                assert await anext(items) == number
                if number % 5 == 0:
                    await trio.sleep(0.02)
                said = trace.read_text()
                assert not said or int(said) <= number + 5


@pytest.mark.parametrize("target", [PLAIN, EAGER])
async def test_a_slow_reader_keeps_memory_flat(target: str) -> None:
    """Half a GiB in items of a MiB, read while others sleep: neither side ever holds more than a few dozen MiB."""
    async with pool_of(spawned(target)) as pool:
        handle = pool._core.slots[0].incarnation.handle  # type: ignore[union-attr]
        before, theirs = memory(), handle.memory() or 0
        most = most_of_theirs = 0
        read = 0
        async with pool.stream("large", [512, MIB], window=64) as items:
            async for item in items:
                assert len(item) == MIB
                read += 1
                if read % 32 == 1:
                    await trio.sleep(0.05)
                    most = max(most, memory() - before)
                    most_of_theirs = max(most_of_theirs, (handle.memory() or 0) - theirs)
        assert read == 512
        assert most < 48 * MIB
        assert most_of_theirs < 48 * MIB


@pytest.mark.parametrize("target", [PLAIN, EAGER])
async def test_a_death_in_mid_stream_is_raised_after_what_had_come(target: str) -> None:
    """Once, and the stream is not run again; the next call has a new worker."""
    async with pool_of(spawned(target)) as pool:
        found = []
        with pytest.raises(WorkerDied) as caught:
            async with pool.stream("dies", [40]) as items:
                async for item in items:
                    found.append(item)
        assert found == list(range(40))
        assert caught.value.signal == "SIGKILL"
        assert await pool.execute("echo", 1) == 1
        assert pool.statistics().died == 1


async def test_a_stream_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """ExecTimeout; what was on its way reaches nobody."""
    async with pool_of(spawned(PLAIN)) as pool:
        with pytest.raises(ExecTimeout):
            async with pool.stream("traced", [str(tmp_path / "trace"), 10**9], exec_timeout=0.2) as items:
                async for _ in items:
                    pass
        for number in range(5):
            assert await pool.execute("echo", number) == number


async def test_a_generator_that_swallows_its_end_is_an_error() -> None:
    """And no hang; the worker is fit for the next call."""
    async with pool_of(spawned(PLAIN)) as pool:
        pid = await pool.execute("pid")
        with pytest.raises(ApplicationError, match="ignored GeneratorExit"):
            async with pool.stream("swallows") as items:
                await anext(items)
        assert await pool.execute("pid") == pid


async def test_a_clean_up_without_end_is_bounded(tmp_path: Path) -> None:
    """By cancel_grace; then the worker is ended as for any call that does not stop."""
    trace = tmp_path / "trace"
    async with pool_of(spawned(PLAIN), grace=0.3) as pool:
        start = trio.current_time()
        async with pool.stream("never_closes", [str(trace)]) as items:
            await anext(items)
        assert 0.3 <= trio.current_time() - start < 10
        assert await pool.execute("pid") != int(trace.read_text())


async def test_without_a_grace_a_stream_that_is_left_costs_its_worker(tmp_path: Path) -> None:
    """As every call that is cancelled does."""
    async with pool_of(spawned(PLAIN), grace=0) as pool:
        pid = await pool.execute("pid")
        async with pool.stream("traced", [str(tmp_path / "trace"), 10**9]) as items:
            await anext(items)
        assert await pool.execute("pid") != pid


async def test_late_items_reach_no_other_stream(tmp_path: Path) -> None:
    """Streams that are left at once, one after another on one worker: each begins with its own first item."""
    async with pool_of(spawned(PLAIN)) as pool:
        for number in range(100):
            async with pool.stream("traced", [str(tmp_path / "trace"), 1000], window=1 + number % 7) as items:
                for each in range(number % 5):
                    assert await anext(items) == each
            assert await pool.execute("echo", number) == number
        assert pool.statistics().spawned == 1


async def test_a_callback_that_fails_ends_the_job() -> None:
    """At its next look; the error is the caller's, and the worker stays."""
    told: list[float] = []

    def third(done: float, total: float | None) -> None:
        told.append(done)
        if len(told) == 3:
            raise KeyError

    async with pool_of(spawned(PLAIN)) as pool:
        pid = await pool.execute("pid")
        with pytest.raises(KeyError):
            await pool.execute("reports_for_ever", progress=third)
        assert len(told) == 3
        assert await pool.execute("pid") == pid


async def test_a_worker_in_any_language_can_stream() -> None:
    """By the protocol's page, and nothing else; without `cancel` it is told of both ends by folk.end."""
    told: list[Any] = []
    async with pool_of(by_hand()) as pool:
        assert await all_of(pool, "proper") == ["only"]
        assert await pool.execute("progress", progress=lambda *each: told.append(each)) == "done"
        assert told == [(1, 2.5)]
        assert pool.statistics().spawned == 1


@pytest.mark.parametrize(
    ("misdeed", "says"),
    [
        ("beyond_credit", "beyond its credit"),
        ("for_another", "only replies"),
        ("without_a_value", "which nobody asked for"),
        ("without_a_msgid", "only replies"),
        ("unasked_progress", "which nobody asked for"),
    ],
)
async def test_a_breach_ends_the_stream_and_the_worker(misdeed: str, says: str) -> None:
    """The error says what came; the pool serves on."""
    async with pool_of(by_hand()) as pool:
        with pytest.raises(ProtocolError, match=says):
            await all_of(pool, misdeed)
        assert await pool.execute("echo", 1) == 1
        assert pool.statistics().spawned == 2


@pytest.mark.parametrize("misdeed", ["proper", "unasked_progress"])
async def test_an_ordinary_call_hears_nothing_but_its_reply(misdeed: str) -> None:
    """What nobody asked for is a breach."""
    async with pool_of(by_hand()) as pool:
        with pytest.raises(ProtocolError, match="only replies"):
            await pool.execute(misdeed)
        assert await pool.execute("echo", 1) == 1


async def test_progress_that_is_no_number_is_a_breach() -> None:
    """The callback is not called."""
    async with pool_of(by_hand()) as pool:
        with pytest.raises(ProtocolError, match="which nobody asked for"):
            await pool.execute("progress_in_words", progress=lambda done, total: pytest.fail("called"))


async def test_an_item_after_the_reply_reaches_nobody() -> None:
    """The stream has ended well; its worker is ended, and the next call unharmed."""
    async with pool_of(by_hand()) as pool:
        assert await all_of(pool, "after_the_reply") == []
        for number in range(5):
            assert await pool.execute("echo", number) == number
        assert pool.statistics().spawned == 2


async def test_a_worker_that_does_not_stream_is_not_asked_to() -> None:
    """The error says what it lacks; progress is simply never reported."""
    zoo = PipeRuntime([sys.executable, str(HERE / "zoo.py"), "animal"], env=ENV)
    async with pool_of(zoo) as pool:
        with pytest.raises(FolkError, match="does not stream"):
            await all_of(pool, "echo")
        assert await pool.execute("echo", 1, progress=lambda done, total: pytest.fail("called")) == 1
        assert pool.statistics().spawned == 1

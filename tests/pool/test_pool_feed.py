"""Feeding a call: uploads in pieces as the worker asks for them, and what becomes of the call if there is no more."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_folk
from trio_folk import PipeRuntime

HERE = Path(__file__).parent
JOBS = str(HERE.parent / "worker")
BOUND = 60  # seconds; ten times what the slowest takes
PIECE = bytes(range(256)) * 256

each_way = pytest.mark.parametrize(
    ("target", "method"),
    [
        ("plain", "digest"),
        ("eager", "digest"),
        ("eager", "adigest"),
        ("several", "digest"),
        ("several", "adigest"),
    ],
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [JOBS, *sys.path])


def runtime(target: str) -> PipeRuntime:
    return PipeRuntime.python(f"worker_feed_jobs:{target}")


async def source(count: int, piece: bytes = PIECE) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece


async def fed(pool: trio_folk.WorkerPool, method: str, feed: AsyncIterator[bytes]) -> Any:
    """What the method says at the end of what it was fed."""
    async with pool.stream(method, feed=feed) as items:
        given = [item async for item in items]
        return items.result or given[0]


@each_way
async def test_a_call_gets_all_that_it_is_fed(target: str, method: str) -> None:
    """In order, whatever the sizes; nothing at all is a feed too."""
    async with trio_folk.open_pool(runtime(target), slots=1) as pool:
        with trio.fail_after(BOUND):
            for count, piece in ((0, b""), (3, b"abc"), (2, PIECE * 5 + b"x")):
                whole = piece * count
                total, found, _ = await fed(pool, method, source(count, piece))
                assert (total, found) == (len(whole), hashlib.sha256(whole).hexdigest())
            assert await pool.execute("echo", "next") == "next"


@each_way
async def test_memory_stays_flat(target: str, method: str) -> None:
    """64 MiB pass through both processes, and neither has grown by a quarter of that."""
    async with trio_folk.open_pool(runtime(target), slots=1) as pool:
        with trio.fail_after(BOUND):
            _, _, before = await fed(pool, method, source(16))
            total, _, after = await fed(pool, method, source(1024))
            assert total == 64 << 20
            assert after - before < 16 << 10  # KiB


async def test_what_is_not_read_is_not_sent() -> None:
    """A method that reads three bytes of an endless feed ends, and so does the feed."""
    async with trio_folk.open_pool(runtime("plain"), slots=1) as pool:
        with trio.fail_after(BOUND):
            async with pool.stream("ignore", feed=source(10**9)) as items:
                assert [item async for item in items] == []
                assert items.result == "done"
            async with pool.stream("digest", [3], feed=source(10**9)) as items:
                assert [item async for item in items] == []
                assert items.result[0] == len(PIECE)
            assert await pool.execute("echo", "next") == "next"


async def test_a_call_answers_while_it_is_fed() -> None:
    """Both directions at once."""
    async with trio_folk.open_pool(runtime("plain"), slots=1) as pool:
        with trio.fail_after(BOUND):
            async with pool.stream("upper", feed=source(200, b"abc")) as items:
                assert [item async for item in items] == [b"ABC"] * 200


@each_way
async def test_a_feed_that_fails_cancels_its_call(target: str, method: str) -> None:
    """The method does not take it for the end, and the caller gets what the feed raised; the worker serves on."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the client has gone")

    async with trio_folk.open_pool(runtime(target), slots=1) as pool:
        with trio.fail_after(BOUND):
            with pytest.raises(OSError, match="the client has gone"):
                await fed(pool, method, broken())
            (seen,) = await pool.execute("seen")
            assert seen in ("CallCancelled", "Cancelled")
            assert pool.statistics().slots[0].worker == "pool/0.1"


@each_way
async def test_a_call_that_waits_for_more_can_be_cancelled(target: str, method: str) -> None:
    """Within its grace, and its worker stays."""

    async with trio_folk.open_pool(runtime(target), slots=1) as pool:
        with trio.fail_after(BOUND):
            with trio.CancelScope() as scope:

                async def slow() -> AsyncIterator[bytes]:
                    yield b"some"
                    scope.cancel()  # it left because the method asked for it
                    await trio.sleep_forever()

                await fed(pool, method, slow())
            assert scope.cancelled_caught
            assert await pool.execute("seen") in (["CallCancelled"], ["Cancelled"])
            assert pool.statistics().slots[0].worker == "pool/0.1"


async def test_a_worker_that_dies_ends_its_feed() -> None:
    """The caller learns it, and nothing waits for ever."""
    async with trio_folk.open_pool(
        runtime("plain"), config=trio_folk.PoolConfig(slots=1, min_uptime=0)
    ) as pool:
        with trio.fail_after(BOUND):

            async def deadly() -> AsyncIterator[bytes]:
                yield b"some"
                pid = pool.statistics().slots[0].pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await trio.sleep_forever()

            with pytest.raises(trio_folk.WorkerDied):
                await fed(pool, "digest", deadly())
            assert await pool.execute("echo", "next") == "next"


async def test_a_method_that_is_not_fed_says_so() -> None:
    """To ask for more is an error of the method; a feed that is no such thing is refused before anything is sent."""
    async with trio_folk.open_pool(runtime("plain"), slots=1) as pool:
        with trio.fail_after(BOUND):
            with pytest.raises(trio_folk.ApplicationError, match="not fed"):
                async with pool.stream("digest") as items:
                    assert [item async for item in items] == []
            with pytest.raises(TypeError, match="asynchronous iterable"):
                pool.stream("digest", feed=b"bytes")  # type: ignore[arg-type]


async def test_a_task_of_this_process_cannot_wait_for_what_it_is_fed() -> None:
    """It would hold up whoever feeds it, for ever; an asynchronous method can."""
    from worker_feed_jobs import eager

    async with trio_folk.open_pool(trio_folk.TaskRuntime(eager), slots=1) as pool:
        with trio.fail_after(BOUND):
            with pytest.raises(trio_folk.ApplicationError, match="await areceive"):
                await fed(pool, "digest", source(1))
            total, _, _ = await fed(pool, "adigest", source(3))
            assert total == 3 * len(PIECE)


async def test_a_mixed_pool_feeds_whichever_part_has_the_call() -> None:
    """Both parts get some of them."""
    mixed = trio_folk.MixedRuntime((runtime("plain"), 1), (runtime("several"), 1))
    async with trio_folk.open_pool(mixed) as pool:
        await pool.wait_ready(2)
        totals: list[int] = []

        async def one() -> None:
            totals.append((await fed(pool, "digest", source(20)))[0])

        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(one)
        assert totals == [20 * len(PIECE)] * 8

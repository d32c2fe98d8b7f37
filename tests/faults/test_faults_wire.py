"""Workers that break the protocol: the call ends with an error that names the worker, and the pool serves on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from trio_folk import ProtocolError, WorkerDied, open_pool
from trio_folk._pool import PoolConfig
from trio_folk.runtimes import PipeRuntime

ZOO = str(Path(__file__).with_name("zoo.py"))
CONFIG = PoolConfig(slots=1, terminate_grace=0.5, min_uptime=0)
BOUND = 30  # seconds; ten times what the slowest of these takes


def animal(name: str = "animal") -> PipeRuntime:
    return PipeRuntime([sys.executable, ZOO, name], env={"PYTHONPATH": str(Path(__file__).parents[2])})


@pytest.mark.parametrize(
    ("misdeed", "says"),
    [
        ("garbage", "frame"),
        ("not_msgpack", "MessagePack"),
        ("oversize", "limit"),
        ("zero_length", "zero|empty"),
        ("wrong_msgid", "which nobody waits for"),
        ("request_as_reply", "only replies"),
    ],
)
async def test_nonsense_ends_the_call_and_the_worker_and_nothing_else(misdeed: str, says: str) -> None:
    """The error names the worker; the next call is answered by a new one."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG, name="zoo") as pool:
            with pytest.raises(ProtocolError, match=says) as caught:
                await pool.execute(misdeed)
            assert caught.value.worker == "zoo/0.1"
            assert caught.value.pid
            assert await pool.execute("echo", "next") == "next"
            assert pool.statistics().slots[0].worker == "zoo/0.2"


async def test_a_frame_cut_short_by_death_is_a_death() -> None:
    """The worker wrote part of a reply and exited."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(WorkerDied) as caught:
                await pool.execute("truncated")
            assert caught.value.exit_code == 0
            assert await pool.execute("echo", "next") == "next"


@pytest.mark.parametrize("misdeed", ["answers_twice", "answers_twice_later"])
async def test_a_second_answer_never_reaches_the_next_caller(misdeed: str) -> None:
    """However it arrives, the next call gets its own answer."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            assert await pool.execute(misdeed) == "first"
            await trio.sleep(0.2)
            for number in range(5):
                assert await pool.execute("echo", number) == number
            assert pool.statistics().spawned == 2


async def test_late_reply_never_reaches_the_next_caller() -> None:
    """After a timeout and after a cancellation the channel is never read again."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(trio.TooSlowError):
                await pool.execute("answers_late", 0.3, exec_timeout=0.1)
            assert await pool.execute("echo", 1) == 1
            with trio.move_on_after(0.1) as scope:
                await pool.execute("answers_late", 0.3)
            assert scope.cancelled_caught
            for number in range(5):
                assert await pool.execute("echo", number) == number


async def test_a_worker_that_closed_its_task_channel_takes_no_call() -> None:
    """It closed it after its answer; the next call goes to a new worker, unharmed."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            assert await pool.execute("closes_task") == "closing 3"
            assert await pool.execute("echo", "next") == "next"


async def test_closing_the_task_channel_in_a_call_ends_that_call() -> None:
    """The worker lives on, but cannot answer: the error says what it did."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            with pytest.raises(WorkerDied, match="closed its task channel"):
                await pool.execute("closes_task_unanswered")
            assert await pool.execute("echo", "next") == "next"


async def test_a_worker_that_closed_its_control_channel_is_replaced() -> None:
    """It can no longer be reached; it is ended, and no call is lost."""
    with trio.fail_after(BOUND):
        async with open_pool(animal(), config=CONFIG) as pool:
            assert await pool.execute("closes_control") == "closing 4"
            with pool.events() as events:
                async for event in events:
                    if event.kind == "condemned":
                        assert event.reason == "it closed its control channel"
                        break
            assert await pool.execute("echo", "next") == "next"

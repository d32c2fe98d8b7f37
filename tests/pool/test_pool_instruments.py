"""Instruments: what they hear of calls, workers and reloads, and that one that breaks harms nobody."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pool_worker
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    ApplicationError,
    ExecTimeout,
    FolkError,
    PoolBusy,
    PoolClosed,
    PoolConfig,
    QueueTimeout,
    ReloadFailed,
    SpawnBudget,
    TaskRuntime,
    WorkerPool,
    open_pool,
)
from trio_folk._pool.instruments import Instruments
from trio_folk.abc import CallRecord, Instrument, WorkerExit
from trio_folk.testing import Fault, FaultyRuntime, Script


class Notes(Instrument):
    """Everything that it hears, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, CallRecord]] = []
        self.ends: list[tuple[str | None, str | None]] = []
        self.workers: list[tuple[object, ...]] = []
        self.reloads: list[tuple[object, ...]] = []

    def call_queued(self, call: CallRecord) -> None:
        self.calls.append(("queued", call))

    def call_started(self, call: CallRecord) -> None:
        self.calls.append(("started", call))

    def call_finished(self, call: CallRecord, error: BaseException | None) -> None:
        self.calls.append(("finished", call))
        self.ends.append((call.end, None if error is None else type(error).__name__))

    def worker_spawning(self, worker: str) -> None:
        self.workers.append(("spawning", worker))

    def worker_ready(self, worker: str) -> None:
        self.workers.append(("ready", worker))

    def worker_failed(self, worker: str, reason: str) -> None:
        self.workers.append(("failed", worker))

    def worker_retiring(self, worker: str, reason: str) -> None:
        self.workers.append(("retiring", worker))

    def worker_condemned(self, worker: str, reason: str) -> None:
        self.workers.append(("condemned", worker))

    def worker_ended(self, worker: str, reason: str, how: WorkerExit | None, planned: bool) -> None:
        self.workers.append(("ended", worker, planned))

    def reload_started(self, pool: str, generation: int) -> None:
        self.reloads.append(("started", pool, generation))

    def reload_finished(
        self, pool: str, generation: int, seconds: float, error: BaseException | None
    ) -> None:
        self.reloads.append(("finished", pool, generation, None if error is None else type(error)))


async def test_a_call_is_heard_of_three_times(autojump_clock: trio.testing.MockClock) -> None:
    """One record: who calls what, where it ran, how long it waited and ran, and how it ended."""
    worker, _ = pool_worker.make()
    notes = Notes()
    async with open_pool(TaskRuntime(worker), slots=1, name="p", instruments=[notes]) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.execute, "sleep", 2)
            await wait_all_tasks_blocked()
            nursery.start_soon(pool.execute, "sleep", 3)
    first, second = (call for name, call in notes.calls if name == "queued")
    assert [name for name, call in notes.calls if call is second] == ["queued", "started", "finished"]
    assert (first.method, first.pool, first.worker, first.end) == ("sleep", "p", "p/0.1", "succeeded")
    assert (first.queue_seconds, first.run_seconds, first.attempts, first.items) == (0, 2, 1, 1)
    assert (second.queue_seconds, second.run_seconds) == (2, 3)


async def test_every_end_has_its_name(autojump_clock: trio.testing.MockClock) -> None:
    """And the error that the caller gets."""
    worker, _ = pool_worker.make()
    notes = Notes()
    async with open_pool(TaskRuntime(worker), slots=1, instruments=[notes]) as pool:
        await pool.run_sync(len, "four")
        with pytest.raises(ApplicationError):
            await pool.execute("fail", "it broke")
        with trio.move_on_after(1):
            await pool.execute("sleep", 60)
        with pytest.raises(ExecTimeout):
            await pool.execute("sleep", 60, exec_timeout=1)
        async with pool.lease() as lease:
            await lease.execute("note", 1)
            with pytest.raises(PoolBusy):
                await pool.execute("note", 2, queue_timeout=0)
            with pytest.raises(QueueTimeout):
                await pool.execute("note", 3, queue_timeout=1)
            with pytest.raises(ValueError, match="queue_timeout"):
                await pool.execute("note", 3, queue_timeout=-1)  # makes no sense, so it is not heard of
        await pool.drain()
        with pytest.raises(PoolClosed):
            await pool.execute("note", 4)
    assert notes.ends == [
        ("succeeded", None),
        ("failed", "ApplicationError"),
        ("cancelled", "Cancelled"),
        ("exec_timeout", "ExecTimeout"),
        ("succeeded", None),
        ("refused", "PoolBusy"),
        ("queue_timeout", "QueueTimeout"),
        ("refused", "PoolClosed"),
    ]


async def test_a_call_that_is_run_again_is_heard_to_start_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its worker died under it, and it may run again: one record, two attempts."""
    notes = Notes()
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()})])
    config = PoolConfig(slots=1, min_uptime=0)
    async with open_pool(runtime, config=config, instruments=[notes]) as pool:
        await pool.execute("echo", 1, idempotent=True)
        assert [name for name, _ in notes.calls] == ["queued", "started", "started", "finished"]
        assert notes.calls[0][1].attempts == 2
        assert notes.calls[0][1].worker == "pool/0.2"
    assert ("ended", "pool/0.1", False) in notes.workers
    assert ("ended", "pool/0.2", True) in notes.workers


async def test_a_chunk_of_a_map_says_how_many_items(autojump_clock: trio.testing.MockClock) -> None:
    """And how many of them failed; a partial function goes by the name of what it calls."""
    worker, _ = pool_worker.make()
    notes = Notes()
    async with open_pool(TaskRuntime(worker), slots=1, instruments=[notes]) as pool:
        async with pool.map(partial(int), ["1", "x", "3"], outcomes=True, chunk=3) as results:
            assert len([each async for each in results]) == 3
    (record,) = {call for _, call in notes.calls}
    assert (record.method, record.items, record.failures, record.end) == ("int", 3, 1, "succeeded")


async def test_a_workers_life_and_a_reload_are_heard_of(autojump_clock: trio.testing.MockClock) -> None:
    """In order, and a failed reload with what it failed of."""
    notes = Notes()
    runtime = FaultyRuntime([Script(), Script(), Script(boot="dies")])
    async with open_pool(runtime, slots=1, instruments=[notes]) as pool:
        await pool.reload()
        with pytest.raises(ReloadFailed):
            await pool.reload()
    of_the_first = [each[0] for each in notes.workers if each[1] == "pool/0.1"]
    assert of_the_first[:3] == ["spawning", "ready", "retiring"]
    assert of_the_first[-1] == "ended"
    assert notes.reloads == [
        ("started", "pool", 1),
        ("finished", "pool", 1, None),
        ("started", "pool", 2),
        ("finished", "pool", 2, ReloadFailed),
    ]


async def test_an_instrument_that_raises_is_removed_and_logged(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The call does not notice, and the others go on hearing."""

    class Broken(Instrument):
        def call_started(self, call: CallRecord) -> None:
            raise ZeroDivisionError("not my day")

    worker, _ = pool_worker.make()
    broken, notes = Broken(), Notes()
    async with open_pool(TaskRuntime(worker), slots=1, instruments=[broken, notes]) as pool:
        assert await pool.execute("note", 1) == 1
        assert await pool.execute("note", 2) == 2
        with pytest.raises(KeyError):
            pool.remove_instrument(broken)
    (record,) = (each for each in caplog.records if each.name == "trio_folk.abc.Instrument")
    assert record.levelno == logging.ERROR
    assert "call_started() of" in record.getMessage()
    assert len(notes.calls) == 6


async def test_instruments_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    """Who comes while a call runs does not hear of its end; who goes hears no end either."""
    worker, _ = pool_worker.make()
    early, late = Notes(), Notes()
    async with open_pool(TaskRuntime(worker), slots=1, instruments=[early]) as pool:
        pool.add_instrument(early)  # not twice
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.execute, "sleep", 1)
            await wait_all_tasks_blocked()
            pool.add_instrument(late)
            pool.remove_instrument(early)
        assert ([name for name, _ in early.calls], late.calls) == (["queued", "started"], [])
        await pool.execute("note", 1)
        assert [name for name, _ in late.calls] == ["queued", "started", "finished"]
        with pytest.raises(TypeError, match="Instrument"):
            pool.add_instrument(print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Instrument"):
        async with open_pool(TaskRuntime(worker), instruments=[3]):  # type: ignore[list-item]
            pytest.fail("a number hears nothing")


async def test_what_an_instrument_puts_into_the_context_reaches_the_worker() -> None:
    """Beside what the pool's configuration names; on the wire of a real worker."""

    class Stamp(Instrument):
        def call_queued(self, call: CallRecord) -> None:
            call.context["stamp"] = f"{call.method} of {trio.lowlevel.current_task().name}"

    worker = pool_worker.make()[0]

    @worker.method
    def context() -> Any:
        from trio_folk.worker import current_call

        return dict(current_call().context)

    async with open_pool(TaskRuntime(worker), slots=1, instruments=[Stamp()]) as pool:
        told = await pool.execute("context")
        assert told["stamp"].startswith("context of ")
        async with pool.lease() as lease:
            assert await lease.execute("context") == told


def test_only_who_overrides_a_method_is_told() -> None:
    """An instrument that wants to hear of reloads costs the calls nothing."""

    class OfReloads(Instrument):
        def reload_started(self, pool: str, generation: int) -> None: ...

    class OfCalls(Instrument):
        def call_finished(self, call: CallRecord, error: BaseException | None) -> None: ...

    instruments = Instruments()
    for each in (OfReloads(), OfCalls(), Instrument()):
        instruments.add(each)
    assert [type(each).__name__ for each in instruments.of_workers] == ["OfReloads"]
    assert [type(each).__name__ for each in instruments.of_calls] == ["OfCalls"]


async def test_the_state_of_a_pool_can_be_asked() -> None:
    """Open, then draining, then closed."""
    worker, _ = pool_worker.make()
    async with open_pool(TaskRuntime(worker), slots=1) as pool:
        assert pool.state == "open"
        await pool.drain()
        assert pool.state == "draining"
    assert pool.state == "closed"


async def test_every_call_that_is_heard_to_begin_is_heard_to_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cancelled, timed out, moved, or dead with their workers: as many ends as beginnings."""
    notes = Notes()
    random = Random(7)
    scripts = [Script(at_call={1 + each % 5: Fault.dies()}) for each in range(30)]
    config = PoolConfig(slots=3, min_uptime=0, budget=SpawnBudget(1000, 1), cancel_grace=0)

    async def call(pool: WorkerPool) -> None:
        await trio.sleep(random.random())
        with trio.move_on_after(random.choice([0.1, 1, 9])):
            with suppress(FolkError):
                await pool.execute(
                    "sleep",
                    random.random(),
                    idempotent=random.random() < 0.5,
                    exec_timeout=random.choice([0.5, 2]),
                    queue_timeout=random.choice([0, 0.5, 9]),
                )

    async with open_pool(FaultyRuntime(scripts), config=config, instruments=[notes]) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(call, pool)
    heard = Counter(name for name, _ in notes.calls)
    assert heard["queued"] == heard["finished"] == 100
    assert len({end for end, _ in notes.ends}) >= 5
    born = {each[1] for each in notes.workers if each[0] == "spawning"}
    ended = {each[1] for each in notes.workers if each[0] == "ended"}
    assert len(born) > 10
    assert born == ended


async def test_a_watched_call_keeps_its_key_and_its_priority(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever looks, it goes where it would have gone, and when."""
    worker, began = pool_worker.make()
    notes = Notes()
    async with open_pool(TaskRuntime(worker), slots=4, instruments=[notes]) as pool:
        await pool.wait_ready(4)
        async with trio.open_nursery() as nursery:
            for each in range(12):
                nursery.start_soon(partial(pool.execute, "sleep", each, key="cat"))
    assert len({call.worker for _, call in notes.calls if call.worker is not None}) == 1
    began.clear()
    async with open_pool(TaskRuntime(worker), slots=1, instruments=[notes]) as pool:
        async with trio.open_nursery() as nursery:
            async with pool.lease():
                for each in range(3):
                    nursery.start_soon(partial(pool.execute, "note", each, priority=each))
                    await wait_all_tasks_blocked()
    assert began == [2, 1, 0]

"""Reloads of real processes whose new code is broken in each way that code can be: nothing changes, and no call fails.

Callers go on without pause in every test. What they may get is an answer of the old code, or of the new one once it
has taken over; any error is a failure of the test. The code under reload is a file that the tests rewrite.
"""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import attrs
import pytest
import trio

from trio_folk import (
    ForkRuntime,
    Lease,
    PipeRuntime,
    PoolConfig,
    PoolEvent,
    ReloadFailed,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Runtime

SLOTS = 4
BOUND = 100
BOOT_TIMEOUT = 3.0  # seconds; an import takes a fiftieth of that
CONFIG = PoolConfig(slots=SLOTS, min_uptime=0, terminate_grace=1)

CODE = """\
import os, sys, time
from trio_folk.worker import Worker
{head}
worker = Worker()

@worker.method
def answer():
    time.sleep(0.005)
    return {version}

@worker.method
def probe():
    {probe}
"""


@attrs.frozen
class Shop:
    """Worker code in a folder, and the runtime that makes workers of it."""

    folder: Path
    forked: bool

    def write(self, version: int, *, head: str = "", probe: str | None = None) -> None:
        """The code from now on. What it answers is its version."""
        text = CODE.format(version=version, head=head, probe=probe or f"return {version}")
        (self.folder / "shop.py").write_text(text)

    def runtime(self) -> Runtime:
        # without compiled files: Python takes one for current if the size and the second of the change are the same
        env = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.forked:
            return ForkRuntime("shop:worker", env=env, boot_timeout=BOOT_TIMEOUT)
        return PipeRuntime.python("shop:worker", env=env)

    def config(self) -> PoolConfig:
        """A zygote's imports have its own limit: the pool's is for all of a birth."""
        return attrs.evolve(CONFIG, boot_timeout=30 if self.forked else BOOT_TIMEOUT)


@pytest.fixture(params=["spawned", "forked"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Version 1, to be run by either runtime."""
    made = Shop(tmp_path, forked=request.param == "forked")
    made.write(1)
    return made


class Callers:
    """Callers without pause: how often they got which answer, and what failed."""

    def __init__(self, pool: WorkerPool) -> None:
        self.answers: collections.Counter[int] = collections.Counter()
        self.failed: list[Exception] = []
        self._pool = pool
        self._over = False

    def begin(self, nursery: trio.Nursery, count: int) -> None:
        for _ in range(count):
            nursery.start_soon(self._call)

    def end(self) -> None:
        """They stop by themselves: to cancel a call would end its worker."""
        self._over = True

    async def more(self) -> None:
        """Return when many more calls have ended than may have been under way."""
        until = self.answers.total() + len(self.failed) + 200
        while self.answers.total() + len(self.failed) < until:
            await trio.sleep(0.01)

    async def _call(self) -> None:
        while not self._over:
            try:
                self.answers[await self._pool.execute("answer")] += 1
            except Exception as error:
                self.failed.append(error)


async def versions(pool: WorkerPool) -> dict[str, int]:
    """What each slot's worker answers, by the worker's id."""
    async with AsyncExitStack() as stack:
        leases = [await stack.enter_async_context(pool.lease()) for _ in range(SLOTS)]
        return {lease.worker: await lease.execute("answer") for lease in leases}


async def kill_one(pool: WorkerPool) -> str:
    """Kill a worker that runs no call, and return when its slot has another. Which it was."""
    async with pool.lease() as lease:
        assert lease.pid is not None
        os.kill(lease.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await lease.execute("answer")
    await pool.wait_ready(SLOTS)
    return lease.worker


def slot_of(worker: str) -> str:
    return worker.partition(".")[0]


async def check(worker: Lease) -> None:
    """What a user may want to know of new code before it serves: the answer of a method."""
    found = await worker.execute("probe")
    if not isinstance(found, int):
        raise ValueError(f"the new code wants {found}")


async def kill_it(worker: Lease) -> None:
    """The new worker dies while it is checked, and the check does not notice."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with suppress(WorkerDied):
        await worker.execute("probe")


@attrs.frozen
class Broken:
    """New code that cannot take over: how it is broken, the stage named, if one is, and what the error tells of it."""

    stage: str | None
    told: tuple[str, ...]
    head: str = ""
    probe: str | None = None
    check: Callable[[Lease], object] = check


BROKEN = {
    "syntax error": Broken(
        "boot",
        ("'shop' could not be imported", 'shop.py", line 3', "def broken(:", "SyntaxError: invalid syntax"),
        head="def broken(:",
    ),
    "import error": Broken(
        "boot",
        (
            "'shop' could not be imported",
            'shop.py", line 3',
            "from os import till",
            "ImportError: cannot import",
        ),
        head="from os import till",
    ),
    "endless loop at import": Broken(
        "boot",
        (f"not ready within {BOOT_TIMEOUT:g} s", "counting all sheep"),
        head="print('counting all sheep', file=sys.stderr, flush=True)\nwhile True: pass",
    ),
    "crash in the check": Broken(
        "check",
        ("the check of the new worker failed", "exited with status 3", "cannot open the till"),
        probe="print('cannot open the till', file=sys.stderr, flush=True); os._exit(3)",
    ),
    "death beside the check": Broken(None, ("the new worker ended before it took over",), check=kill_it),
    "failing method in the check": Broken(
        "check",
        ("the check of the new worker failed", "ZeroDivisionError", "return 1 // 0"),
        probe="return 1 // 0",
    ),
    "failing check": Broken("check", ("ValueError", "the new code wants a rise"), probe="return 'a rise'"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_code_changes_nothing_and_the_error_says_why(shop: Shop, broken: Broken) -> None:
    """ReloadFailed with its reason; the old code serves, no call fails, and the next good reload succeeds."""
    with trio.fail_after(BOUND):
        async with open_pool(shop.runtime(), config=shop.config()) as pool, trio.open_nursery() as nursery:
            await pool.wait_ready(SLOTS)
            callers = Callers(pool)
            callers.begin(nursery, 8)
            before = await versions(pool)

            shop.write(2, head=broken.head, probe=broken.probe)
            with pytest.raises(ReloadFailed) as caught:
                await pool.reload(broken.check)  # type: ignore[arg-type]
            error = caught.value
            assert "every slot has its old worker" in error.message
            assert broken.stage in (None, error.stage)
            assert error.report is None
            for words in broken.told:
                assert words in str(error)

            await callers.more()
            assert await versions(pool) == before
            if shop.forked:
                # the zygote of the old code is still there, and nobody reads the disk
                killed = await kill_one(pool)
                after = await versions(pool)
                assert set(after.values()) == {1}
                assert after.keys() ^ before.keys() > {killed}
            assert callers.answers.keys() == {1}

            shop.write(3)
            report = await pool.reload(check)
            assert len(report.slots) == SLOTS
            assert set((await versions(pool)).values()) == {3}
            callers.end()
        assert callers.failed == []
        assert callers.answers.keys() <= {1, 3}, "what never took over answered a call"


async def test_a_worker_that_dies_while_a_reload_fails_is_reborn_in_the_old_code_if_forked(
    shop: Shop,
) -> None:
    """Spawned workers read the disk. Either way no call fails, and the other slots keep the old code."""
    dead = ""

    async def kill_another_and_fail(worker: Lease) -> None:
        nonlocal dead
        assert await worker.execute("answer") == 2, "the canary runs the new code"
        dead = await kill_one(pool)
        raise ValueError("no")

    with trio.fail_after(BOUND):
        async with open_pool(shop.runtime(), config=shop.config()) as pool, trio.open_nursery() as nursery:
            await pool.wait_ready(SLOTS)
            callers = Callers(pool)
            callers.begin(nursery, 8)
            shop.write(2)
            with pytest.raises(ReloadFailed, match="every slot has its old worker"):
                await pool.reload(kill_another_and_fail)
            found = await versions(pool)
            callers.end()
        assert dead
        assert dead not in found
        reborn = 1 if shop.forked else 2
        assert {worker: reborn if slot_of(worker) == slot_of(dead) else 1 for worker in found} == found
        assert callers.failed == []


async def test_reloads_under_load_fail_no_call_and_no_slot_ever_lacks_a_worker(shop: Shop) -> None:
    """64 callers of 5 ms calls: 0 failed; never fewer than four slots able to serve, sampled and by the events."""
    fewest = SLOTS
    deployed = range(2, 8 if shop.forked else 5)
    with trio.fail_after(BOUND):
        async with open_pool(shop.runtime(), config=shop.config()) as pool, trio.open_nursery() as nursery:
            await pool.wait_ready(SLOTS)
            callers = Callers(pool)
            seated = {slot.worker for slot in pool.statistics().slots if slot.worker is not None}
            sampling = trio.CancelScope()

            async def sample() -> None:
                nonlocal fewest
                with sampling:
                    while True:
                        fewest = min(fewest, pool.statistics().ready)
                        await trio.sleep(0.001)

            with pool.events(buffer=10_000) as events:
                nursery.start_soon(sample)
                callers.begin(nursery, 64)
                for version in deployed:
                    shop.write(version)
                    await pool.reload(check)
                    assert await pool.execute("answer") == version
                    await callers.more()
                callers.end()
                sampling.cancel()
                told = events.nowait()
                assert events.dropped == 0
            statistics = pool.statistics()
        assert callers.failed == []
        assert statistics.died == statistics.failed == statistics.cancelled == 0
        assert callers.answers.keys() == {1, *deployed}
        assert fewest == SLOTS
        assert fewest_able(seated, told) == SLOTS


def fewest_able(seated: set[str], told: list[PoolEvent]) -> int:
    """The fewest slots that ever had a worker which served."""
    able = set(seated)
    fewest = len(able)
    for event in told:
        assert event.kind not in ("boot_failed", "slot_failed"), event
        if event.worker is not None and event.kind == "ready":
            able.add(event.worker)
        elif event.worker is not None and event.kind in ("retiring", "condemned"):
            able.discard(event.worker)
        fewest = min(fewest, len({slot_of(worker) for worker in able}))
    return fewest


async def failure(shop: Shop, check: Callable[[Lease], Awaitable[object]], probe: str = "") -> ReloadFailed:
    """What a reload to version 2 raises under this check."""
    with trio.fail_after(BOUND):
        async with open_pool(shop.runtime(), config=attrs.evolve(shop.config(), slots=1)) as pool:
            shop.write(2, probe=probe or None)
            with pytest.raises(ReloadFailed) as caught:
                await pool.reload(check)
            return caught.value


async def probe(worker: Lease) -> None:
    await worker.execute("probe")


async def test_a_method_that_fails_in_the_check_shows_its_line(shop: Shop) -> None:
    """Its traceback is the error's own, and readable."""
    error = await failure(shop, probe, "return 1 // 0")
    assert "return 1 // 0" in (error.remote_traceback or "")
    assert "\\n" not in error.message


async def test_a_death_in_the_check_tells_its_exit(shop: Shop) -> None:
    """As every death does."""
    error = await failure(shop, probe, "os._exit(3)")
    assert (error.exit_code, error.stage) == (3, "check")


async def test_a_death_beside_the_check_tells_who_and_how(shop: Shop) -> None:
    """The check passed, and the new worker is dead all the same."""

    async def kill(worker: Lease) -> None:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await worker.execute("probe")

    error = await failure(shop, kill)
    assert (error.signal, error.stage) == ("SIGKILL", "check")
    assert error.worker is not None
    assert error.pid is not None


async def test_failed_reloads_leave_no_zygote(tmp_path: Path) -> None:
    """Code that did not prove itself is forgotten, and its process ends."""
    shop = Shop(tmp_path, forked=True)
    shop.write(1)
    runtime = shop.runtime()
    assert isinstance(runtime, ForkRuntime)

    async def refuse(worker: Lease) -> None:
        raise ValueError("no")

    with trio.fail_after(BOUND):
        async with open_pool(runtime, slots=1) as pool:
            before = children()
            for _ in range(4):
                with pytest.raises(ReloadFailed):
                    await pool.reload(refuse)
            while len(children()) > len(before):
                await trio.sleep(0.02)


def children() -> list[str]:
    """Our child processes; a guardian, zygotes and the workers that we spawned ourselves."""
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

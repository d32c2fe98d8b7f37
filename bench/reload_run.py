"""One run of bench/reload.py: what 64 callers, and whoever looks at the slots, see of twenty reloads.

The reloads follow one another without a pause, which is the hardest; each writes new code first, and the answers show
that it serves. Four slots hold 800 calls of 5 ms a second: most of a call's time is the wait of 64 callers for them.

Knows the public names of trio_folk. Does not know tables, nor how a picture is drawn.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

import trio_folk

CALLERS, SLOTS = 64, 4
RELOADS, SHORT_RELOADS = 20, 3
WARM_UP, QUIET, SHORT_QUIET = 0.5, 3.0, 0.5  # seconds; it is quiet before the reloads and after them
SAMPLE = 0.001  # seconds
LIMIT = 120.0  # seconds for one run
EVENTS = 100_000

CODE = """\
import time
from trio_folk.worker import Worker

worker = Worker()

@worker.method
def nap():
    time.sleep(0.005)
    return {version}
"""

Span = tuple[float, float]
Step = tuple[float, int]


def forked(folder: str) -> trio_folk.ForkRuntime:
    """Each generation is a zygote that imports the code, and its forks."""
    return trio_folk.ForkRuntime("bench_reloaded:worker", env=_environment(folder))


def spawned(folder: str) -> trio_folk.PipeRuntime:
    """Each worker is an interpreter that imports the code."""
    return trio_folk.PipeRuntime.python("bench_reloaded:worker", env=_environment(folder))


WAYS: dict[str, Callable[[str], trio_folk.ForkRuntime | trio_folk.PipeRuntime]] = {
    "forked": forked,
    "spawned": spawned,
}


def _environment(folder: str) -> dict[str, str]:
    # Python takes a compiled file for current where the size and the second of the source's change are the same
    return {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}


@attrs.define
class Run:
    """What was seen of one pool, by trio's clock.

    Attributes:
        calls: when each began and ended.
        failed: what went wrong, one line each; an answer of code that had been replaced is an error too.
        reloads: when each began and ended.
        quiet: the two spans without.
        sampled: the slots able to serve, whenever that number changed.
        told: the same, as the pool's events have it.
    """

    calls: list[Span] = attrs.Factory(list)
    failed: list[str] = attrs.Factory(list)
    reloads: list[Span] = attrs.Factory(list)
    quiet: list[Span] = attrs.Factory(list)
    sampled: list[Step] = attrs.Factory(list)
    told: list[Step] = attrs.Factory(list)

    @property
    def reloading(self) -> Span:
        """From the first reload to the last."""
        return self.reloads[0][0], self.reloads[-1][1]

    def without(self) -> list[float]:
        """The seconds of each call that began and ended while it was quiet, sorted."""
        return sorted(
            end - begin
            for begin, end in self.calls
            for since, to in self.quiet
            if since <= begin and end <= to
        )

    def through(self) -> list[float]:
        """The seconds of each call some of which was while a reload ran, sorted."""
        since, to = self.reloading
        return sorted(end - begin for begin, end in self.calls if begin < to and end > since)

    def values(self) -> dict[str, float | str]:
        """The row of the table."""
        without, through = self.without(), self.through()
        return {
            "failed calls": len(self.failed),
            "fewest slots able": min(count for _, count in (*self.sampled, *self.told)),
            "a reload": statistics.median(end - begin for begin, end in self.reloads) * 1e3,
            "calls meanwhile": len(through),
            "p50 without": percentile(without, 50) * 1e3,
            "p50": percentile(through, 50) * 1e3,
            "p99 without": percentile(without, 99) * 1e3,
            "p99": percentile(through, 99) * 1e3,
            "p99 / p99 without": percentile(through, 99) / percentile(without, 99),
        }


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Of so many percent none is greater."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


async def watched(way: str, *, short: bool) -> Run:
    """One pool, its callers and its reloads, from the first call to the last answer."""
    with trio.fail_after(LIMIT), tempfile.TemporaryDirectory(prefix="folk-bench-") as folder:
        source = Path(folder, "bench_reloaded.py")
        write(source, 0)
        async with trio_folk.open_pool(WAYS[way](folder), slots=SLOTS, name="bench") as pool:
            await pool.wait_ready(SLOTS)
            with pool.events(buffer=EVENTS) as events:
                run = await _Bench(pool, source, short).run()
                able = {f"bench/{slot}.1" for slot in range(SLOTS)}  # nobody has died or been replaced yet
                run.told = steps(events.nowait(), able)
                if events.dropped:
                    run.failed.append(f"{events.dropped} events were dropped")
    return run


def write(source: Path, version: int) -> None:
    """Deploy: from now on whoever imports the code gets this version."""
    source.write_text(CODE.format(version=version))


class _Bench:
    """The tasks of one run."""

    def __init__(self, pool: trio_folk.WorkerPool, source: Path, short: bool) -> None:
        self._pool = pool
        self._source = source
        self._reloads = SHORT_RELOADS if short else RELOADS
        self._quiet = SHORT_QUIET if short else QUIET
        self._served = 0  # the version that serves: no call from now on may be answered by an older one
        self._over = False
        self._run = Run()

    async def run(self) -> Run:
        async with trio.open_nursery() as nursery:
            sampling = await nursery.start(self._sample)
            for _ in range(CALLERS):
                nursery.start_soon(self._call_without_pause)
            await trio.sleep(WARM_UP)
            await self._be_quiet()
            for version in range(1, self._reloads + 1):
                await self._reload(version)
            await self._be_quiet()
            self._over = True
            sampling.cancel()
        return self._run

    async def _call_without_pause(self) -> None:
        while not self._over:
            began, least = trio.current_time(), self._served
            try:
                version = await self._pool.execute("nap")
            except trio_folk.FolkError as error:
                self._run.failed.append(f"{type(error).__name__}: {error.message}")
            else:
                if version < least:
                    self._run.failed.append(f"version {version} answered after {least} had taken over")
            self._run.calls.append((began, trio.current_time()))

    async def _be_quiet(self) -> None:
        began = trio.current_time()
        await trio.sleep(self._quiet)
        self._run.quiet.append((began, trio.current_time()))

    async def _reload(self, version: int) -> None:
        write(self._source, version)
        began = trio.current_time()
        await self._pool.reload()
        self._run.reloads.append((began, trio.current_time()))
        self._served = version

    async def _sample(
        self, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                count = self._pool.statistics().ready
                if not self._run.sampled or self._run.sampled[-1][1] != count:
                    self._run.sampled.append((trio.current_time(), count))
                await trio.sleep(SAMPLE)


def steps(told: Sequence[trio_folk.PoolEvent], able: set[str]) -> list[Step]:
    """How many slots had a worker that served, after each event that says so of one."""
    found: list[Step] = []
    for event in told:
        if event.kind == "ready" and event.worker is not None:
            able.add(event.worker)
        elif event.kind in ("retiring", "condemned") and event.worker is not None:
            able.discard(event.worker)
        found.append((event.time, len({worker.partition(".")[0] for worker in able})))
    return found

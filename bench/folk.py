"""trio_folk behind the peers' interface: by function, by method, and without processes.

Knows the public names of trio_folk only. Does not know the measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.interface import MANY_CALLERS, OF_POOLS, Call, Peer
from bench.jobs import echo

if TYPE_CHECKING:
    from trio_folk import WorkerPool
    from trio_folk.abc import Runtime

_WORKER = "bench.folk_worker:worker"
_METHODS = {echo: "give_back"}


class FolkRunSync(Peer):
    """`WorkerPool.run_sync`: any importable function, pickled arguments."""

    name = "trio_folk"
    measures = OF_POOLS | MANY_CALLERS | {"births", "maps"}

    def __init__(self) -> None:
        import trio_folk

        # the public names are lazy: whoever times open_pool must not time the import of it
        self._open_pool = trio_folk.open_pool
        self._config = trio_folk.PoolConfig()
        self._runtime: Runtime = self._make_runtime()
        self._pool: WorkerPool | None = None

    def _make_runtime(self) -> Runtime:
        import trio_folk

        return trio_folk.PipeRuntime.python()

    def end_at_once(self) -> bool:
        """By `cancel_grace`."""
        import trio_folk

        self._config = trio_folk.PoolConfig(cancel_grace=0)
        return True

    async def ready(self, workers: int) -> bool:
        """By `wait_ready`."""
        assert self._pool is not None, "a pool was opened before"
        await self._pool.wait_ready(workers)
        return True

    async def add_up(self, fn: Callable[[int], int], items: Iterable[int]) -> int:
        """By `map` as it comes."""
        assert self._pool is not None, "a pool was opened before"
        async with self._pool.map(fn, items) as results:
            total = 0
            async for each in results:
                total += each
            return total

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Ready when the first worker is."""
        async with self._open_pool(
            self._runtime, slots=workers, config=self._config, name="bench"
        ) as self._pool:
            yield self._pool.run_sync


class FolkFork(FolkRunSync):
    """The same with forked workers: one zygote for all pools that are open at a time."""

    name = "trio_folk.fork"
    measures = frozenset({"births", "cancel", "crowd"})

    def _make_runtime(self) -> Runtime:
        import trio_folk

        return trio_folk.ForkRuntime(preload=["bench.jobs"])


class FolkView(FolkRunSync):
    """The same where large bytes arrive as memoryviews: no copy is made of what the worker wrote."""

    name = "trio_folk.view"
    measures = frozenset({"large"})

    def _make_runtime(self) -> Runtime:
        import trio_folk

        return trio_folk.PipeRuntime.python(transfer="view")


class FolkExecute(Peer):
    """`WorkerPool.execute`: a named method of the worker, MessagePack and no pickle."""

    name = "trio_folk.execute"
    pickles = False
    largest = 8
    measures = frozenset({"calls", "callers", "curve", "bandwidth", "large"})

    def __init__(self) -> None:
        import trio_folk

        self._open_pool, self._runtime = trio_folk.open_pool, trio_folk.PipeRuntime

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Ready when the first worker is."""
        async with self._open_pool(self._runtime.python(_WORKER), slots=workers, name="bench") as pool:

            async def call(fn: Callable[..., Any], payload: bytes) -> Any:
                return await pool.execute(_METHODS[fn], payload)

            yield call


class FolkTasks(Peer):
    """The pool over workers that are trio tasks of the same process: its own code and wire, no second process."""

    name = "trio_folk.tasks"
    measures = frozenset({"dispatch", "slots"})

    def __init__(self) -> None:
        import trio_folk

        self._open_pool, self._runtime = trio_folk.open_pool, trio_folk.TaskRuntime

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Ready when all are."""
        async with self._open_pool(self._runtime(_WORKER), slots=workers, name="bench") as pool:
            await pool.wait_ready(workers)

            async def call(fn: Callable[..., Any], payload: bytes) -> Any:
                return await pool.execute(_METHODS[fn], payload)

            yield call

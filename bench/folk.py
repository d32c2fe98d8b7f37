"""trio_folk behind the peers' interface: by function, by method, and without processes.

Knows the public names of trio_folk only. Does not know the measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bench.interface import Call, Peer
from bench.jobs import echo

_WORKER = "bench.folk_worker:worker"
_METHODS = {echo: "give_back"}


class FolkRunSync(Peer):
    """`WorkerPool.run_sync`: any importable function, pickled arguments."""

    name = "trio_folk"

    def __init__(self) -> None:
        import trio_folk

        # the public names are lazy: whoever times open_pool must not time the import of it
        self._open_pool, self._runtime = trio_folk.open_pool, trio_folk.PipeRuntime

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Ready when the first worker is."""
        async with self._open_pool(self._runtime.python(), slots=workers, name="bench") as pool:
            yield pool.run_sync


class FolkExecute(Peer):
    """`WorkerPool.execute`: a named method of the worker, MessagePack and no pickle."""

    name = "trio_folk.execute"
    measures = frozenset({"calls", "callers", "large"})

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
    measures = frozenset({"dispatch"})

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

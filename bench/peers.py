"""The peers: other people's worker pools, each behind the one interface, and the list of all.

Each imports its library when it is made, in the process that measures it, so that none weighs on another.

Knows each library's public way in. Does not know the measures.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import trio

from bench.bridge import result_of
from bench.floors import BareRpc, PingPong
from bench.folk import FolkExecute, FolkFork, FolkRunSync, FolkTasks
from bench.interface import OF_POOLS, Call, Peer


class TrioParallel(Peer):
    """trio-parallel with its default way to start workers, spawn.

    Where it finds cloudpickle it uses it on both sides, and a call takes a third longer. It does not ask
    for it, so it is measured at its best: without, as most of its users have it.
    """

    name = "trio-parallel"
    measures = OF_POOLS | {"births"}
    path: ClassVar[str | None] = "plain_pickle"

    def __init__(self) -> None:
        import trio_parallel  # type: ignore[import-untyped]

        self._open_context = trio_parallel.open_worker_context

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made as callers come; the limiter is what bounds them."""
        limiter = trio.CapacityLimiter(workers)
        async with self._open_context() as context:
            yield functools.partial(context.run_sync, kill_on_cancel=True, limiter=limiter)


class TrioParallelForkserver(TrioParallel):
    """The same with workers from a fork server, which has imported what they need."""

    name = "trio-parallel.forkserver"
    measures = frozenset({"births"})

    def __init__(self) -> None:
        super().__init__()
        from trio_parallel import WorkerType

        multiprocessing.get_context("forkserver").set_forkserver_preload(
            ["_trio_parallel_workers", "bench.jobs"]
        )
        self._open_context = functools.partial(self._open_context, worker_type=WorkerType.FORKSERVER)


class TrioParallelCloudpickle(TrioParallel):
    """The same where cloudpickle is installed, as it is beside `trio_folk[closures]`."""

    name = "trio-parallel.cloudpickle"
    measures = frozenset({"calls"})
    path: ClassVar[str | None] = None


class Anyio(Peer):
    """anyio.to_process. Its workers belong to the event loop: a fresh pool needs a fresh `trio.run`."""

    name = "anyio"

    def __init__(self) -> None:
        import anyio.to_process

        self._run_sync = anyio.to_process.run_sync
        self._limiter = anyio.CapacityLimiter

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made as callers come, and end with the event loop."""
        yield functools.partial(self._run_sync, cancellable=True, limiter=self._limiter(workers))


@asynccontextmanager
async def _through_trio(make: Callable[[], Executor]) -> AsyncIterator[Call]:
    executor = make()

    async def call(fn: Callable[..., Any], *args: Any) -> Any:
        return await result_of(executor.submit(fn, *args))

    try:
        yield call
    finally:
        with trio.CancelScope(shield=True):  # bounded by the alarm of the cell
            await trio.to_thread.run_sync(executor.shutdown)


class Futures(Peer):
    """concurrent.futures.ProcessPoolExecutor by spawn, through trio."""

    name = "ProcessPoolExecutor"
    cancellable = False

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made as calls come."""
        context = multiprocessing.get_context("spawn")
        async with _through_trio(lambda: ProcessPoolExecutor(workers, mp_context=context)) as call:
            yield call


class Loky(Peer):
    """loky, through trio."""

    name = "loky"
    cancellable = False

    def __init__(self) -> None:
        import loky  # type: ignore[import-untyped]

        self._executor = loky.ProcessPoolExecutor

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made with the first call, all at once."""
        async with _through_trio(lambda: self._executor(workers)) as call:
            yield call


PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        PingPong,
        BareRpc,
        FolkRunSync,
        FolkFork,
        FolkExecute,
        FolkTasks,
        TrioParallel,
        TrioParallelForkserver,
        TrioParallelCloudpickle,
        Anyio,
        Futures,
        Loky,
    )
}
FLOORS = (PingPong.name, BareRpc.name)

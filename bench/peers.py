"""The peers that are awaited as they are, and joblib; and the list of all, floors and our own among them.

Each imports its library when it is made, in the process that measures it, so that none weighs on another.

Knows each library's public way in. Does not know the measures.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import trio

from bench.floors import BareRpc, PingPong
from bench.folk import FolkExecute, FolkFork, FolkRunSync, FolkTasks, FolkView
from bench.futures import Futures, Loky, Mpire, Pebble
from bench.interface import MANY_CALLERS, OF_POOLS, Call, Peer
from bench.watched import FolkWatched


class TrioParallel(Peer):
    """trio-parallel with its default way to start workers, spawn.

    Where it finds cloudpickle it uses it on both sides, and a call takes a third longer. It does not ask
    for it, so it is measured at its best: without, as most of its users have it.
    """

    name = "trio-parallel"
    measures = OF_POOLS | MANY_CALLERS | {"births"}
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
    measures = OF_POOLS | MANY_CALLERS

    def __init__(self) -> None:
        import anyio.to_process

        self._run_sync = anyio.to_process.run_sync
        self._limiter = anyio.CapacityLimiter

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made as callers come, and end with the event loop."""
        yield functools.partial(self._run_sync, cancellable=True, limiter=self._limiter(workers))


class Joblib(Peer):
    """joblib, whose batches grow by themselves. It is its maps that people use."""

    name = "joblib"
    cancellable = False
    measures = frozenset({"maps"})

    def __init__(self) -> None:
        import joblib  # type: ignore[import-untyped]
        from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

        self._joblib, self._reusable = joblib, get_reusable_executor
        self._parallel: Any = None

    async def add_up(self, fn: Callable[[int], int], items: Iterable[int]) -> int:
        """By `Parallel`, in a thread."""
        jobs = (self._joblib.delayed(fn)(each) for each in items)
        return sum(await trio.to_thread.run_sync(self._parallel, jobs))

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Its workers are made with the first call, and shared by all who use it in a process: ended here."""

        async def call(fn: Callable[..., Any], *args: Any) -> Any:
            jobs = [self._joblib.delayed(fn)(*args)]
            return (await trio.to_thread.run_sync(self._parallel, jobs))[0]

        with self._joblib.Parallel(n_jobs=workers) as self._parallel:
            try:
                yield call
            finally:
                with trio.CancelScope(shield=True):  # bounded by the alarm of the cell
                    end = functools.partial(self._reusable().shutdown, wait=True)
                    await trio.to_thread.run_sync(end)


PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        PingPong,
        BareRpc,
        FolkRunSync,
        FolkFork,
        FolkView,
        FolkExecute,
        FolkTasks,
        FolkWatched,
        TrioParallel,
        TrioParallelForkserver,
        TrioParallelCloudpickle,
        Anyio,
        Futures,
        Loky,
        Pebble,
        Mpire,
        Joblib,
    )
}
FLOORS = (PingPong.name, BareRpc.name)

"""The peers that answer by a future or a callback of another thread: executors, pebble, mpire.

Each is awaited through `bench.bridge`, so that no thread waits for each call. All start their workers by spawn: a
fork would copy a process that has threads.

Knows each library's public way in. Does not know the measures.
"""

from __future__ import annotations

import functools
import multiprocessing
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import trio

from bench.bridge import result_of
from bench.interface import MANY_CALLERS, OF_POOLS, Call, Peer

CHUNK = 250
"""Items in a chunk, where a library does not choose for itself."""


class OfFutures(Peer):
    """Whatever gives a future for each call, and maps with a blocking function."""

    cancellable = False
    measures = OF_POOLS | MANY_CALLERS | {"maps"}

    def __init__(self) -> None:
        self._pool: Any = None

    @abstractmethod
    def _make(self, workers: int) -> Any:
        """A new pool."""

    @abstractmethod
    def _submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Begin a call."""

    @abstractmethod
    def _mapped(self, fn: Callable[[int], int], items: Iterable[int]) -> Iterable[int]:
        """The results of a map."""

    @abstractmethod
    def _end(self) -> None:
        """Close the pool and wait for its end."""

    async def add_up(self, fn: Callable[[int], int], items: Iterable[int]) -> int:
        """By its map, in a thread."""
        return await trio.to_thread.run_sync(lambda: sum(self._mapped(fn, items)))

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Whether its workers are made now or with the first calls is its affair."""
        self._pool = self._make(workers)

        async def call(fn: Callable[..., Any], *args: Any) -> Any:
            return await result_of(self._submit(fn, *args))

        try:
            yield call
        finally:
            with trio.CancelScope(shield=True):  # bounded by the alarm of the cell
                await trio.to_thread.run_sync(self._end)


class Futures(OfFutures):
    """concurrent.futures.ProcessPoolExecutor, through trio. Its workers are made as calls come."""

    name = "ProcessPoolExecutor"

    def _make(self, workers: int) -> Executor:
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = self._pool.submit(fn, *args)
        return future

    def _mapped(self, fn: Callable[[int], int], items: Iterable[int]) -> Iterable[int]:
        results: Iterable[int] = self._pool.map(fn, items, chunksize=CHUNK)
        return results

    def _end(self) -> None:
        self._pool.shutdown()


class Loky(Futures):
    """loky, through trio. Its workers are made with the first call, all at once."""

    name = "loky"

    def __init__(self) -> None:
        super().__init__()
        import loky  # type: ignore[import-untyped]

        self._loky = loky.ProcessPoolExecutor

    def _make(self, workers: int) -> Executor:
        executor: Executor = self._loky(workers)
        return executor


class Pebble(OfFutures):
    """pebble, through trio. It stops a running job whose future is cancelled."""

    name = "pebble"
    cancellable = True

    def __init__(self) -> None:
        super().__init__()
        import pebble

        self._pebble = pebble.ProcessPool

    def _make(self, workers: int) -> Any:
        return self._pebble(workers, context=multiprocessing.get_context("spawn"))

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = self._pool.schedule(fn, args=args)
        return future

    def _mapped(self, fn: Callable[[int], int], items: Iterable[int]) -> Iterable[int]:
        results: Iterable[int] = self._pool.map(fn, items, chunksize=CHUNK).result()
        return results

    def _end(self) -> None:
        self._pool.close()
        self._pool.join()


class Mpire(OfFutures):
    """mpire, through trio, by `apply_async` and its callbacks. What people use it for is its maps."""

    name = "mpire"

    def __init__(self) -> None:
        super().__init__()
        import mpire

        self._mpire: Any = mpire.WorkerPool  # type: ignore[attr-defined]

    def _make(self, workers: int) -> Any:
        return self._mpire(workers, start_method="spawn", keep_alive=True)

    def _submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        settle = functools.partial(_settle, future)
        self._pool.apply_async(
            fn, args, callback=settle(future.set_result), error_callback=settle(future.set_exception)
        )
        return future

    def _mapped(self, fn: Callable[[int], int], items: Iterable[int]) -> Iterable[int]:
        results: Iterable[int] = self._pool.imap_unordered(fn, items, chunk_size=CHUNK)
        return results

    def _end(self) -> None:
        self._pool.stop_and_join()


def _settle(future: Future[Any], give: Callable[[Any], None]) -> Callable[[Any], None]:
    """A callback that gives the future what came, unless nobody asks for it any more."""

    def given(what: Any) -> None:
        if future.set_running_or_notify_cancel():
            give(what)

    return given

"""The contract, part four: streams and reports, of workers that announce them; and of others that they say so."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from .._errors import ApplicationError, FolkError
from ..abc import Runtime, Stream, WorkerHandle
from ._contract_base import SHORT, ContractBase, needs

__all__ = ["StreamContract"]

_MANY = 10**6  # items: more than any window, and more than a test would wait for


class StreamContract(ContractBase):
    """`Runtime.prepare_stream` and `Job.progress`, where the worker announces ``stream`` and ``progress``."""

    async def read(self, handle: WorkerHandle, stream: Stream, items: list[Any]) -> None:
        """Run a stream, and take each of its items as soon as it is there."""

        def take() -> None:
            while stream.waiting:
                items.append(stream.take())

        stream.on_news = take
        assert await handle.execute(stream) is None

    def streams(self, runtime: Runtime, handle: WorkerHandle) -> bool:
        """Whether there are streams here: a runtime need not have them, nor its workers."""
        try:
            runtime.prepare_stream("echo", None, window=1)
        except TypeError:
            return False
        return "stream" in handle.features

    @needs("echo")
    async def test_a_worker_streams_or_says_that_it_does_not(self) -> None:
        """A TypeError at once, or a FolkError; where it streams, an ApplicationError of a method with one result."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            expected = ApplicationError if self.streams(runtime, handle) else (FolkError, TypeError)
            with pytest.raises(expected):
                await handle.execute(runtime.prepare_stream("echo", 1, window=1))
            assert await self.call(runtime, handle, "echo", 1) == 1

    @needs("count")
    async def test_items_come_in_order_and_then_the_end(self) -> None:
        """As many as there are, whatever the window."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            if not self.streams(runtime, handle):
                return
            for window in (1, 3, 100):
                items: list[Any] = []
                await self.read(handle, runtime.prepare_stream("count", [50], window=window), items)
                assert items == list(range(50))

    @needs("count")
    async def test_no_more_items_come_than_there_is_room_for(self) -> None:
        """The window bounds them while nobody takes any; a cancellation then ends the stream, or its worker."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle, trio.open_nursery() as nursery:
            if not self.streams(runtime, handle):
                return
            stream = runtime.prepare_stream("count", [_MANY], window=5)
            nursery.start_soon(handle.execute, stream)
            await _when(stream, 5)
            await trio.sleep(SHORT)
            assert stream.waiting == 5
            assert [stream.take() for _ in range(5)] == list(range(5))
            nursery.cancel_scope.cancel()

    @needs("count")
    async def test_a_stream_that_was_left_is_over_and_its_worker_is_not(self) -> None:
        """Its execute succeeds when it is cancelled, and no later call gets its items."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            if not self.streams(runtime, handle):
                return
            for number in range(10):
                stream = runtime.prepare_stream("count", [_MANY], window=5)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(handle.execute, stream)
                    await _when(stream, 1)
                    stream.leave()
                    nursery.cancel_scope.cancel()
                assert not stream.waiting
                if handle.condemned.is_set():
                    return  # the grace here is short, and a busy machine slow
                assert await self.call(runtime, handle, "echo", number) == number

    @needs("count")
    async def test_the_two_kinds_of_methods_are_told_apart(self) -> None:
        """A generator has no result."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with pytest.raises(ApplicationError, match="stream"):
                await self.call(runtime, handle, "count", [3])

    @needs("gather")
    async def test_a_call_is_fed_what_it_asks_for(self) -> None:
        """All of it, in order, and the end; its result is what execute returns. Where workers announce ``feed``."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            if not self.streams(runtime, handle) or "feed" not in handle.features:
                return
            if not runtime.traits.processes:
                return  # a task of this process cannot wait for us
            for pieces in ([], [b"x"] * 40, [b"y" * 200_000]):
                stream = runtime.prepare_stream("gather", None, window=3, feed=True)
                items: list[Any] = []
                stream.on_news = lambda stream=stream, items=items: _take_all(stream, items)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_give, stream, pieces)
                    assert await handle.execute(stream) == len(b"".join(pieces))
                assert sum(items) == len(b"".join(pieces))

    @needs("half", "count")
    async def test_reports_come_before_the_reply(self) -> None:
        """The last one always; and beside the items of a stream."""
        runtime = self.make_runtime()
        told: list[Any] = []
        async with self.ready(runtime) as handle:
            job = runtime.prepare("half", [8])
            job.progress = lambda done, total: told.append((done, total))
            assert await handle.execute(job) == 8
            if "progress" not in handle.features:
                assert not told
                return
            assert told[-1] == (8, 8)
            if not self.streams(runtime, handle):
                return
            stream = runtime.prepare_stream("count", [3], window=2)
            stream.progress = job.progress
            items: list[Any] = []
            await self.read(handle, stream, items)
            assert items == [0, 1, 2]
            assert told[-1] == (3, 3)


async def _give(stream: Stream, pieces: list[bytes]) -> None:
    for piece in pieces:
        await stream.give(piece)
    await stream.give(b"")


def _take_all(stream: Stream, items: list[Any]) -> None:
    while stream.waiting:
        items.append(stream.take())


async def _when(stream: Stream, number: int) -> None:
    """Return when so many items wait."""
    while stream.waiting < number:
        news = trio.Event()
        stream.on_news = news.set
        await news.wait()

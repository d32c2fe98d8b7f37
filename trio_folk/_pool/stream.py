"""Streams: the items that a method gives, as they come, while other tasks go their way.

A reader that has had enough, or fails at the third item, leaves a worker in the middle of its work. So a stream is a
block: while it lasts a task runs the call, and when it is left the worker has ended the stream, or was ended itself.

Invariants
    1. Items come in their order, each once; whatever ended the stream comes after the last of them.
    2. After the block the worker serves others, or takes no more calls.
    3. What was on its way when the block was left reaches nobody.

Knows a stream's job and how to run one. Does not know slots, credit or frames.
Picture: docs/design/stream.md
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, NoReturn, final

import trio

from .._errors import FolkError, WorkerDied
from ..abc import Runtime, Stream
from .background import open_background

__all__ = ["StreamItems", "open_stream", "prepare"]

FAIRNESS = 0.0002
"""Seconds of real time for which items are handed out without another task getting its turn."""


@final
class StreamItems:
    """The items of a stream, as an async iterator."""

    _stream: Stream
    _lot: trio.lowlevel.ParkingLot
    _error: Exception | None = None  # what ended it, for whoever takes the next item
    _late: Exception | None = None  # what it ended with after nobody wanted more
    _complete = False
    _over = False  # the call has ended
    _left = False  # the block has
    _switch = 0.0  # when other tasks must get their turn
    _result: Any = None
    _calling: trio.CancelScope
    _feeding: trio.CancelScope

    def __init__(self) -> None:
        raise TypeError("items come from a stream: `async with pool.stream(method) as items`")

    @classmethod
    def _of(cls, stream: Stream) -> StreamItems:
        items = object.__new__(cls)
        items._stream = stream
        items._lot = trio.lowlevel.ParkingLot()
        items._calling, items._feeding = trio.CancelScope(), trio.CancelScope()
        stream.on_news = items._lot.unpark_all
        return items

    def __repr__(self) -> str:
        state = "left" if self._left else "ended" if self._over else "open"
        return f"<StreamItems {state}: {self._stream.waiting} waiting>"

    def __aiter__(self) -> StreamItems:
        return self

    @property
    def result(self) -> Any:
        """What the generator returned at its end; None before that, and where it returned nothing."""
        return self._result

    async def __anext__(self) -> Any:
        """The next item.

        Raises:
            ApplicationError: the generator failed; after the items that it gave.
            WorkerDied, ExecTimeout, ProtocolError: its worker ended; after the items that had come.
            RuntimeError: the block was left.
            Exception: what ``feed`` raised; after the items that had come.

        Always notices a cancellation; other tasks run before it returns, or did within the last 0.2 ms.
        Cancellation: no item is lost; the stream goes on until its block is left.
        """
        if perf_counter() > self._switch:
            await trio.lowlevel.checkpoint()
            self._switch = perf_counter() + FAIRNESS
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while self._left or not self._stream.waiting:
            if self._over or self._left:
                self._end()
            await self._lot.park()
            self._switch = perf_counter() + FAIRNESS
        return self._stream.take()

    def _end(self) -> NoReturn:
        if self._left:
            raise RuntimeError("the stream is over: its block was left")
        error, self._error = self._error, None
        if error is not None:
            raise error
        if not self._complete:
            raise FolkError(
                "the stream was cancelled: the scope around its block was, and this task is shielded from that",
                hint="read streams in scopes that are cancelled with them",
            )
        raise StopAsyncIteration

    # -- what the block calls

    async def _run(self, run: Callable[[Stream], Awaitable[Any]]) -> None:
        """Be the call, to its end."""
        try:
            with self._calling:
                self._result = await run(self._stream)
            self._complete = True
        except Exception as error:
            if isinstance(error, WorkerDied):
                error.hint = "its items so far were handed out; open another stream if they may come again"
            if self._left:
                self._late = error
            else:
                self._error, self._complete = error, True
        finally:
            self._over = True
            self._feeding.cancel()
            self._lot.unpark_all()

    async def _feed(self, source: AsyncIterable[bytes]) -> None:
        """Give the call what it is fed, for as long as it runs."""
        with self._feeding:
            try:
                async for data in source:
                    if data:
                        await self._stream.give(data)
                await self._stream.give(b"")
            except Exception as error:
                self._error = error
                self._calling.cancel()
            finally:
                if isinstance(source, AsyncGenerator):
                    await source.aclose()  # a generator that nobody reads on would hold what it has open

    async def _begin(self) -> None:
        """Return when it has a worker; raise what kept it from one."""
        while not self._stream.sent and not self._over:
            await self._lot.park()
        if not self._stream.sent and self._error is not None:
            error, self._error = self._error, None
            raise error

    def _leave(self) -> None:
        """Nobody wants more. The call is about to be cancelled, and unless its caller was too, that is its success."""
        self._left = True
        if not self._over and trio.current_effective_deadline() > -math.inf:
            self._stream.leave()


@asynccontextmanager
async def open_stream(
    stream: Stream, run: Callable[[Stream], Awaitable[Any]], feed: AsyncIterable[bytes] | None = None
) -> AsyncIterator[StreamItems]:
    """Run a stream; the block gets its items."""
    items = StreamItems._of(stream)
    try:
        async with open_background() as nursery:
            nursery.start_soon(items._run, run, name=f"{stream!r}")
            try:
                await items._begin()
                if feed is not None:
                    nursery.start_soon(items._feed, feed)
                yield items
            finally:
                items._leave()
    except Exception as error:
        if items._late is not None:
            error.add_note(f"The stream's generator failed too, when it was closed: {items._late}")
        raise
    if items._late is not None:
        raise items._late


def prepare(
    runtime: Runtime, method: str, params: object, window: int, feed: AsyncIterable[bytes] | None
) -> Stream:
    """The job of a stream; what is no window is refused before anything is sent."""
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window is at least 1 item, not {window!r}")
    if feed is None:
        return runtime.prepare_stream(method, params, window=window)
    if not isinstance(feed, AsyncIterable):
        raise TypeError(f"feed is an asynchronous iterable of bytes, not {feed!r:.100}")
    return runtime.prepare_stream(method, params, window=window, feed=True)

"""Streams in trio's loop: asynchronous generators, and synchronous ones that run inline, one item at a time.

A generator may open scopes and nurseries and stand at a ``yield`` inside them. Trio has one stack of scopes for a task,
so none of ours may be left before the generator has ended, and a cancellation that finds it there belongs inside.

Invariants
    1. One scope holds a generator from its first step to its end; that scope's deadline bounds the closing.
    2. A cancellation that comes while a generator stands at a ``yield`` is thrown into it.
    3. A generator that stands at a ``yield`` when nobody wants more is closed, and may await what it does then.

Knows trio and generators. Does not know descriptors.
Picture: docs/design/stream.md
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import trio

from ._call import Call
from ._credit import Credit
from ._dispatch import failure, success
from ._stream import Unsent, failed, item_frame, left

__all__ = ["CLOSING", "Stoppable", "holds", "stream_async"]

CLOSING = 10.0
"""Seconds that an asynchronous generator may take to clean up, where its caller allows as much."""


class Stoppable(Protocol):
    """Something that ends when nobody wants it any more."""

    def cancel(self) -> None:
        """Nobody does."""


class _Stream:
    """One generator, and where it stands.

    Args:
        write: writes a frame, and all of it even if the wait for that is cancelled.
        fatal: exceptions that are the loop's own affair, and come out.
        scope: what holds it.
    """

    def __init__(
        self,
        call: Call,
        items: Any,
        msgid: int,
        credit: Credit,
        limit: int,
        write: Callable[[bytes], Awaitable[None]],
        fatal: tuple[type[BaseException], ...],
        scope: trio.CancelScope,
    ) -> None:
        self._call, self._items = call, items
        self._msgid, self._credit, self._limit = msgid, credit, limit
        self._write, self._fatal, self._scope = write, fatal, scope
        self._asynchronous = hasattr(items, "__anext__")
        self._runs = False  # or it stands at a yield
        self._frames: deque[bytes] = deque()  # items that it gave and that were not sent
        self._paid = False  # there is credit for the next of them
        self._news = trio.Event()

    def cancel(self) -> None:
        """Nobody wants more."""
        if self._runs:
            self._scope.cancel()
        self.wake()

    def wake(self) -> None:
        """Look whether there is credit, and whether anybody wants more."""
        self._news.set()

    async def run(self) -> bytes:
        """Send the items; returns the frame of the reply."""
        while True:
            thrown = await self._pause()
            if thrown is None and not self._credit.wanted:
                return await self._close(left(self._msgid, self._credit, self._limit))
            self._runs = True
            try:
                if not self._asynchronous:
                    value = next(self._items) if thrown is None else self._items.throw(thrown)
                elif thrown is None:
                    value = await anext(self._items)
                else:
                    value = await self._items.athrow(thrown)
            except (StopIteration, StopAsyncIteration) as stop:
                await self._pause(more=False)
                # an asynchronous iterator of ours may say more than that it has ended
                result = stop.value if isinstance(stop, StopIteration) else next(iter(stop.args), None)
                return success(self._call, self._msgid, result, self._limit)
            except trio.Cancelled:
                raise
            except BaseException as exc:
                if holds(exc, self._fatal):
                    raise
                return failed(self._call, self._msgid, exc, self._credit, self._limit)
            finally:
                self._runs = False
            try:
                self._frames.append(item_frame(self._call, self._msgid, value, self._limit))
            except Unsent as unsent:
                return await self._close(unsent.frame)

    async def _pause(self, *, more: bool = True) -> trio.Cancelled | None:
        """Send what it gave, and wait until it may give more; what a cancellation has raised meanwhile."""
        try:
            while self._frames and await self._has_credit():
                self._paid = False
                await self._write(self._frames.popleft())
            if more:
                await self._has_credit()
        except trio.Cancelled as cancelled:
            return cancelled
        return None

    async def _has_credit(self) -> bool:
        while self._credit.wanted and not self._paid:
            self._paid = self._credit.take()
            if not self._paid:
                self._news = trio.Event()
                await self._news.wait()
        return self._credit.wanted

    async def _close(self, reply: bytes) -> bytes:
        """Let it clean up where it stands; returns this reply, or what its clean-up raised."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + CLOSING)
        try:
            if self._asynchronous:
                await self._items.aclose()
            else:
                self._items.close()
        except trio.Cancelled:
            raise
        except BaseException as exc:
            if holds(exc, self._fatal):
                raise
            return failure(self._call, self._msgid, exc, self._limit)
        return reply


async def stream_async(
    opened: tuple[Call, Any],
    msgid: int,
    credit: Credit,
    limit: int,
    *,
    seconds: float,
    write: Callable[[bytes], Awaitable[None]],
    fatal: tuple[type[BaseException], ...],
    running: MutableMapping[int, Stoppable],
    soon: Callable[[Callable[[], None]], object],
) -> bytes:
    """Send what a generator gives, and return the frame of the reply.

    Args:
        opened: the method, and the generator that it made.
        seconds: until its caller gives up.
        running: has it under its msgid while it runs, for whoever hears that nobody wants more.
        soon: has a function called in trio's thread.
    """
    with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
        one = _Stream(*opened, msgid, credit, limit, write, fatal, scope)
        running[msgid] = one
        credit.stir = lambda: soon(one.wake)
        try:
            return await one.run()
        finally:
            del running[msgid]
    return left(msgid, credit, limit)


def holds(exc: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether it is one of these, or a group with one of them in it."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(kinds) is not None
    return isinstance(exc, kinds)

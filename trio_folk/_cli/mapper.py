"""The mapper: items go into a pool, a bounded number at a time, and their answers come out as lines.

Invariants
    1. At most ``window`` items are taken from the input and not yet written, whatever the order asked for.
    2. An item that was taken is written once, or is named as not done.
    3. After `drain` no item begins, and no attempt is made again.

Knows a pool and lines of JSON. Does not know terminals, signals, or where the lines go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import trio

from .._errors import CrashLoop, FolkError, SpawnError
from .._pool import WorkerPool
from .answers import error_of, line_of
from .items import BadInput, Item, Items, item_of
from .tally import Tally

__all__ = ["Mapper"]


class Mapper:
    """One map over one pool.

    Args:
        pool: of workers of `remote`.
        items: the input.
        parse: whether the items are JSON.
        ordered: whether lines are written in the order of the items.
        retries: how many further attempts a failed item gets.
        write: writes lines.
        on_change: called with an item and its error, or with None, whenever the tally has changed.
        watched: whether somebody wants to know how far each running item is.
    """

    def __init__(
        self,
        pool: WorkerPool,
        items: Items,
        *,
        parse: bool = False,
        ordered: bool = False,
        retries: int = 0,
        write: Callable[[Sequence[str]], Awaitable[None]],
        on_change: Callable[[Item | None, dict[str, Any]], None],
        watched: bool = False,
    ) -> None:
        self.tally = Tally(items.total)
        self.failure: SpawnError | CrashLoop | BadInput | None = None
        self.draining = False
        self._pool = pool
        self._items = items
        self._parse = parse
        self._ordered = ordered
        self._retries = retries
        self._write = write
        self._on_change = on_change
        self._watched = watched
        self._begun: dict[int, Item] = {}  # taken from the input and not finished
        self._next = 0
        self._lines: dict[int, str] = {}
        self._ready: deque[int] = deque()
        self._wake = trio.Event()
        self._over = False
        self._feeding = trio.CancelScope()

    async def run(self, seats: int) -> None:
        """Return when every item was written, or after `drain` those that had begun.

        Args:
            seats: how many calls the pool can run at once.

        Cancellation: running items are abandoned; `undone` tells which, and `leftovers` what was not written.
        """
        window = trio.Semaphore(4 * seats + 16)
        async with trio.open_nursery() as writing:
            writing.start_soon(self._write_lines, window)
            async with trio.open_nursery() as nursery:
                send, receive = trio.open_memory_channel[Item](0)
                nursery.start_soon(self._feed, send, window)
                for _ in range(seats):
                    nursery.start_soon(self._serve, receive.clone())
                receive.close()
            self._over = True
            self._wake.set()

    def drain(self) -> None:
        """Begin nothing more."""
        self.draining = True
        self._feeding.cancel()

    def leftovers(self) -> list[str]:
        """Lines that were finished and not written in their turn, since `run` was cancelled or an item is missing."""
        return [self._lines[index] for index in sorted(self._lines)]

    def undone(self) -> list[str]:
        """The items that were taken or waited to be, and have no line."""
        waiting = (item_of(0, text, parse=self._parse) for text in self._items.left())
        return [item.json for item in (*self._begun.values(), *waiting)]

    async def _feed(self, send: trio.MemorySendChannel[Item], window: trio.Semaphore) -> None:
        with send, self._feeding:
            try:
                index = 0
                while True:
                    await window.acquire()
                    if (text := await self._items.next()) is None:
                        break
                    item = self._begun[index] = item_of(index, text, parse=self._parse)
                    await send.send(item)
                    index += 1
            except BadInput as error:
                self.failure = error

    async def _serve(self, receive: trio.MemoryReceiveChannel[Item]) -> None:
        with receive:
            async for item in receive:
                try:
                    told, attempts = await self._attempts(item)
                except (SpawnError, CrashLoop) as error:
                    self.failure = self.failure or error  # no worker comes to life any more
                    self.drain()
                else:
                    self._finish(item, told, attempts)

    async def _attempts(self, item: Item) -> tuple[dict[str, Any], int]:
        if item.error is not None:
            return {"error": {"type": "ValueError", "message": item.error, "traceback": None}}, 1
        attempt = 1
        while True:
            told = await self._once(item)
            if "error" not in told or attempt > self._retries or self.draining:
                return told, attempt
            attempt += 1
            self.tally.retried += 1
            self._on_change(None, told)

    async def _once(self, item: Item) -> dict[str, Any]:
        progress = partial(self._note_part, item) if self._watched else None
        try:
            told: dict[str, Any] = await self._pool.execute("call", [item.json], progress=progress)
        except (SpawnError, CrashLoop):
            raise
        except FolkError as error:
            return {"error": error_of(error)}
        finally:
            self.tally.parts.pop(item.index, None)
        return told

    def _note_part(self, item: Item, done: float, total: float | None) -> None:
        if total is not None and total > 0:
            self.tally.parts[item.index] = min(max(done / total, 0.0), 1.0)
            self._on_change(None, {})

    def _finish(self, item: Item, told: dict[str, Any], attempts: int) -> None:
        if "error" in told:
            self.tally.failed += 1
        else:
            self.tally.done += 1
        del self._begun[item.index]
        self._lines[item.index] = line_of(item, told, attempts)
        if not self._ordered:
            self._ready.append(item.index)
        while self._ordered and self._next in self._lines:
            self._ready.append(self._next)
            self._next += 1
        self._wake.set()
        self._on_change(item, told)

    async def _write_lines(self, window: trio.Semaphore) -> None:
        while True:
            while self._ready:
                # handed over before it is written: a write that is abandoned may yet happen
                batch = [self._lines.pop(self._ready.popleft()) for _ in range(len(self._ready))]
                await self._write(batch)
                for _ in batch:
                    window.release()
            if self._over:
                return
            await self._wake.wait()
            self._wake = trio.Event()

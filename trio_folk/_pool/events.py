"""What happened in a pool, as it happens, for whoever listens; a slow listener loses events, never the pool.

Knows a buffer. Does not know what the events mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import attrs
import trio

from ..abc import WorkerExit

__all__ = ["EventKind", "EventStream", "Listeners", "PoolEvent"]

EventKind = Literal[
    "spawning", "ready", "boot_failed", "slot_failed", "retiring", "condemned", "ended", "draining"
]


@attrs.frozen
class PoolEvent:
    """One thing that happened.

    Attributes:
        kind: what: a worker is ``spawning``, is ``ready``, ``boot_failed``; its slot gave up for now
            (``slot_failed``); it is due and takes no more calls (``retiring``); it takes none for any reason
            (``condemned``); it is gone (``ended``). Or the pool is ``draining``.
        time: trio's time, in seconds.
        worker: ``pool/slot.incarnation``, or None.
        reason: why.
        exit: how the worker ended, on ``ended``.
        stages: what was tried to end it, in order, each with the seconds that it took, on ``ended``: ``cancel``, then
            the rungs of the ladder, ``STOP``, ``TERMINATE``, ``KILL``. The last is what ended it.
        planned: whether the pool decided that it ends, on ``ended``; false if it died or broke the protocol.
    """

    kind: EventKind
    time: float
    worker: str | None = None
    reason: str | None = None
    exit: WorkerExit | None = None
    stages: tuple[tuple[str, float], ...] = ()
    planned: bool = False


class EventStream:
    """An async iterator over events; `dropped` counts those that no longer fitted its buffer."""

    def __init__(self, receive: trio.MemoryReceiveChannel[PoolEvent]) -> None:
        self._receive = receive
        self.dropped = 0

    def __repr__(self) -> str:
        return (
            f"<EventStream {self._receive.statistics().current_buffer_used} waiting, {self.dropped} dropped>"
        )

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> PoolEvent:
        """The next event; ends when the pool does.

        Cancellation: no event is lost.
        """
        return await self._receive.__anext__()

    def nowait(self) -> list[PoolEvent]:
        """Everything that is there, without waiting."""
        found = []
        while self._receive.statistics().current_buffer_used:
            found.append(self._receive.receive_nowait())
        return found


class Listeners:
    """Everybody who listens to one pool."""

    def __init__(self) -> None:
        self._channels: dict[EventStream, trio.MemorySendChannel[PoolEvent]] = {}

    @contextmanager
    def listen(self, buffer: int) -> Iterator[EventStream]:
        """A stream of what happens from now on, until the block is left."""
        send, receive = trio.open_memory_channel[PoolEvent](buffer)
        stream = EventStream(receive)
        self._channels[stream] = send
        try:
            with send, receive:
                yield stream
        finally:
            self._channels.pop(stream, None)

    def tell(self, event: PoolEvent) -> None:
        """Put the event into each buffer that has room."""
        for stream, send in self._channels.items():
            try:
                send.send_nowait(event)
            except trio.WouldBlock:
                stream.dropped += 1

    def close(self) -> None:
        """Let every stream end once it is read to its end."""
        while self._channels:
            _, send = self._channels.popitem()
            send.close()

"""Generations: the number of the current code, and a broadcast of it to everybody who makes workers.

A memory channel gives each value to one receiver. So each follower has a channel of its own, of size one,
and an unread number is replaced: only the newest counts. Who begins to make a worker reads the number itself,
so that none is missed; the channel tells whoever is in the middle of it.

Invariants
    1. A number is never given twice; the current one goes back only when a reload is rolled back.
    2. A follower that looks after any announcement finds the current number in its channel, once.

Knows numbers and channels. Does not know what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

__all__ = ["Generations"]


class Generations:
    """The generations of one pool.

    Attributes:
        current: of the code that workers are born with now.
    """

    def __init__(self) -> None:
        self.current = 0
        self._latest = 0
        self._followers: list[tuple[trio.MemorySendChannel[int], trio.MemoryReceiveChannel[int]]] = []

    def __repr__(self) -> str:
        return f"<Generations: {self.current} is current, {len(self._followers)} follow>"

    def draw(self) -> int:
        """A new number, larger than any before. It becomes current when it is announced, if ever."""
        self._latest += 1
        return self._latest

    def announce(self, generation: int) -> None:
        """Make it the current one, and tell everybody who follows."""
        self.current = generation
        for send, receive in self._followers:
            with suppress(trio.WouldBlock):
                receive.receive_nowait()  # what was not read is out of date
            send.send_nowait(generation)

    @contextmanager
    def follow(self) -> Iterator[trio.MemoryReceiveChannel[int]]:
        """What is announced from now on, the newest only, until the block is left."""
        send, receive = trio.open_memory_channel[int](1)
        pair = (send, receive)
        self._followers.append(pair)
        try:
            with send, receive:
                yield receive
        finally:
            self._followers.remove(pair)

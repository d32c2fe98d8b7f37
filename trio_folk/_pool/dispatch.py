"""Dispatch: which ready worker takes a call, or whether it waits, or is refused. One synchronous decision.

A queue before each worker lets one slow call hold back the fast ones behind it, and a counter of free
workers drifts from the truth. So there is one queue, and only workers that are ready and have room are known
here at all.

Invariants
    1. Nobody waits while a worker with room is known.
    2. A call goes to an idle worker before one that already runs something.
    3. Waiters are served first come, first served; one whose worker vanished before it started goes to the front.
    4. Every decision takes the same time however many slots there are.

Knows incarnations and waiting tasks. Does not know time, the wire, or how workers come to be.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .errors import PoolBusy
from .incarnation import Incarnation

__all__ = ["Dispatch", "Waiter"]


class Waiter:
    """A task that waits for its turn; it is woken with a worker or with an error."""

    __slots__ = ("error", "incarnation", "task")

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.incarnation: Incarnation | None = None
        self.error: Exception | None = None


class Dispatch:
    """The ready workers with room, and the calls that wait for one."""

    def __init__(self, max_queue: float) -> None:
        self._max_queue = max_queue
        self._idle: dict[Incarnation, None] = {}  # an ordered set; the warmest worker is last
        self._partly: dict[Incarnation, None] = {}
        self._first: dict[Waiter, None] = {}
        self._waiting: dict[Waiter, None] = {}
        self._crowd: trio.Event | None = None  # for who wants to know that a call waits

    def __repr__(self) -> str:
        return f"<Dispatch {len(self._idle)} idle, {len(self._partly)} with room, {self.queued} queued>"

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return len(self._waiting) + len(self._first)

    def decide(self) -> Incarnation | None:
        """Take a worker for one call, or None if the call must wait or be refused."""
        if self._idle:
            incarnation, _ = self._idle.popitem()
        elif self._partly:
            incarnation = next(iter(self._partly))
            del self._partly[incarnation]
        else:
            return None
        self._give(incarnation)
        return incarnation

    def refuse_if_full(self) -> None:
        """A call is about to wait.

        Raises:
            PoolBusy: the queue is full.
        """
        if self.queued >= self._max_queue:
            raise PoolBusy(
                f"no slot is idle and {self.queued} calls wait already",
                stage="queue",
                hint="try again later, or raise max_queue or slots",
            )

    def queue(self, waiter: Waiter, *, first: bool = False) -> None:
        """Let a task wait: at the end, or first if it had its turn already and lost it."""
        (self._first if first else self._waiting)[waiter] = None
        if self._crowd is not None:
            self._crowd.set()

    async def crowded(self) -> Waiter:
        """The newest of those who wait, as soon as somebody does.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while not self.queued:  # who woke us may have been served meanwhile
            self._crowd = trio.Event()
            await self._crowd.wait()
        return next(reversed(self._waiting or self._first))

    def waits(self, waiter: Waiter) -> bool:
        """Whether it waits still."""
        return waiter in self._waiting or waiter in self._first

    def withdraw(self, waiter: Waiter) -> None:
        """The task waits no longer."""
        self._first.pop(waiter, None)
        self._waiting.pop(waiter, None)

    def offer(self, incarnation: Incarnation) -> None:
        """A worker has room: it became ready, or a call on it ended."""
        if incarnation.concurrency > 1:
            self.remove(incarnation)  # it may have had room before
        if not incarnation.serves:
            return
        while self._first or self._waiting:
            if incarnation.full:
                return
            waiter = self._next_waiter()
            waiter.incarnation = incarnation
            self._give(incarnation)
            trio.lowlevel.reschedule(waiter.task)
        self._keep(incarnation)

    def remove(self, incarnation: Incarnation) -> None:
        """A worker takes no more calls."""
        self._idle.pop(incarnation, None)
        self._partly.pop(incarnation, None)

    def refuse_all(self, make: Callable[[], Exception]) -> None:
        """End every wait with an error of its own."""
        while self._first or self._waiting:
            waiter = self._next_waiter()
            waiter.error = make()
            trio.lowlevel.reschedule(waiter.task)

    def _next_waiter(self) -> Waiter:
        line = self._first or self._waiting
        waiter = next(iter(line))
        del line[waiter]
        return waiter

    def _give(self, incarnation: Incarnation) -> None:
        incarnation.take()
        if incarnation.load < incarnation.concurrency:
            self._keep(incarnation)

    def _keep(self, incarnation: Incarnation) -> None:
        if not incarnation.full:
            (self._partly if incarnation.load else self._idle)[incarnation] = None

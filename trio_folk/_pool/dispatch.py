"""Dispatch: which ready worker takes a call, or whether it waits, or is refused. One synchronous decision.

A queue before each worker lets one slow call hold back the fast ones behind it, and a counter of free
workers drifts from the truth. So there is one queue, and only workers that are ready and have room are known
here at all. A busy worker has room while its calls are so short that one more is not kept waiting, and gives back
what it holds when one turns out long (`Holding`).

Invariants
    1. Nobody waits while a worker with room is known.
    2. A call goes to an idle worker before one that runs something, to one of a low rank before one of a high one, to
       the least loaded with a free seat, and to any such before one that holds it.
    3. Waiters are served first come, first served; one whose worker vanished before it started goes to the front. Those
       with a key or a priority have their own `Lines`; while there are none, nothing is different.
    4. Every decision takes the same time however many slots there are.
    5. A call that must run at once is never held, and no call overtakes it because of that.
    6. A worker that begins one call after another stays where those are that may hold some, idle or not, until it is
       found full: moving it there and back would be on the path of every call.

Knows incarnations and waiting tasks. Does not know time, the wire, or how workers come to be.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .errors import PoolBusy
from .incarnation import Incarnation
from .lines import Lines, PlacedWaiter, Waiter
from .shelves import Shelves

__all__ = ["Dispatch"]


class Dispatch:
    """The ready workers with room, and the calls that wait for one.

    Attributes:
        held: calls that wait in workers.
        lines: the calls that wait with a key or a priority.
    """

    def __init__(self, max_queue: float) -> None:
        self._max_queue = max_queue
        self._idle: dict[Incarnation, None] = {}  # an ordered set; the warmest worker is last
        self._further: Shelves | None = None  # idle as well, but of a higher rank; there if any ever was
        self._partly: Shelves | None = None  # by their load; there if any ever was
        self._holding: dict[Incarnation, None] = {}  # looked at only while none of the others has any
        self._stuck: dict[Incarnation, None] = {}  # they hold calls behind a long one, and no worker was idle
        self._first: dict[Waiter, None] = {}
        self._waiting: dict[Waiter, None] = {}
        self._crowd: trio.Event | None = None  # for who wants to know that a call waits
        self.held = 0
        self.lines = Lines()

    def __repr__(self) -> str:
        idle = len(self._idle) + len(self._further or ())
        with_room = len(self._partly or ()) + sum(not each.full for each in self._holding if each.load)
        return f"<Dispatch {idle} idle, {with_room} with room, {self.queued} queued, {self.held} held>"

    @property
    def queued(self) -> int:
        """How many calls wait here."""
        return len(self._waiting) + len(self._first) + self.lines.count

    @property
    def idle(self) -> bool:
        """Whether any worker has nothing to do."""
        return bool(self._idle) or (self._further is not None and self._further.lowest() is not None)

    def decide(self, *, at_once: bool = False, alone: bool = False) -> Incarnation | None:
        """Take a worker for one call, or None if the call must wait or be refused.

        Args:
            at_once: only a free seat will do.
            alone: nor will it do to have other calls held there.
        """
        if self._idle:
            incarnation, _ = self._idle.popitem()
        elif self._further is not None and (shelf := self._further.lowest()):
            incarnation, _ = shelf.popitem()
        elif self._partly is not None and (shelf := self._partly.lowest()):
            incarnation = next(iter(shelf))
            del shelf[incarnation]
        elif (
            not self._holding
            or at_once
            or alone
            or self._waiting
            or self._first
            or (self.lines.count and self.lines.common)
            or self._crowded()
        ):
            return None
        else:
            return self._give_ahead()
        incarnation.shelf = None
        incarnation.take()
        if alone:
            incarnation.keep_alone(True)
        if incarnation.load < incarnation.concurrency and not incarnation.full:
            self._put_by_load(incarnation)
        return incarnation

    def take(self, incarnation: Incarnation, *, at_once: bool, alone: bool) -> bool:
        """Take this worker for one call, which goes to no other; whether it has room. The arguments are as above."""
        ahead = incarnation.load >= incarnation.concurrency
        may_hold = not (at_once or alone or self._crowded())
        if incarnation.full or not incarnation.serves or (ahead and not may_hold):
            # so that no other is held there first, and it is offered when any of its calls ends
            self._hold_no_more(incarnation)
            return False
        if incarnation.shelf is not None:
            del incarnation.shelf[incarnation]
            incarnation.shelf = None
        incarnation.take()
        if alone:
            incarnation.keep_alone(True)
        if ahead:
            self.held += 1
        if incarnation.load < incarnation.concurrency and not incarnation.full:
            self._put_by_load(incarnation)
        return True

    def refuse_if_full(self) -> None:
        """A call is about to wait.

        Raises:
            PoolBusy: the queue is full.
        """
        if self._crowded():
            raise PoolBusy(
                f"no slot is idle and {self.queued + self.held} calls wait already",
                stage="queue",
                hint="try again later, or raise max_queue or slots",
            )

    def _crowded(self) -> bool:
        return len(self._waiting) + len(self._first) + self.lines.count + self.held >= self._max_queue

    def queue(self, waiter: Waiter, *, first: bool = False) -> None:
        """Let a task wait: at the end, or first if it had its turn already and lost it."""
        if self.lines.turns:
            self.lines.number(waiter, first=first)
        (self._first if first else self._waiting)[waiter] = None
        if self._crowd is not None:
            self._crowd.set()

    def queue_for(self, waiter: PlacedWaiter, slot: int | None, *, first: bool = False) -> None:
        """Let a task wait in a line: for this slot if it has a key, else for any."""
        self.lines.number(waiter, first=first)
        self.lines.add(waiter, slot)
        if self._crowd is not None:
            self._crowd.set()

    async def crowded(self) -> Waiter:
        """One of the newest of those who wait, as soon as somebody does for whom no worker is idle.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while (newest := self._newest()) is None:  # who woke us may have been served meanwhile
            self._crowd = trio.Event()
            await self._crowd.wait()
        return newest

    def _newest(self) -> Waiter | None:
        if self._waiting or self._first:
            return next(reversed(self._waiting or self._first))
        return self.lines.newest(keyed=not self.idle) if self.lines.count else None

    def waits(self, waiter: Waiter) -> bool:
        """Whether it waits still."""
        if isinstance(waiter, PlacedWaiter):
            return waiter.line is not None
        return waiter in self._waiting or waiter in self._first

    def withdraw(self, waiter: Waiter) -> None:
        """The task waits no longer."""
        if isinstance(waiter, PlacedWaiter):
            self.lines.remove(waiter)
        else:
            self._first.pop(waiter, None)
            self._waiting.pop(waiter, None)

    def offer(self, incarnation: Incarnation) -> None:
        """A worker has room: it became ready, or a call on it ended."""
        if not incarnation.serves:
            self.remove(incarnation)
            return
        if incarnation.shelf is not None:  # it may have had room before
            del incarnation.shelf[incarnation]
            incarnation.shelf = None
        if (self._first or self._waiting or self.lines.count) and not self._serve(incarnation):
            return
        if incarnation.holds and not incarnation.ahead and not incarnation.full:
            incarnation.ahead = True
            self._holding[incarnation] = None
        if not incarnation.load:
            if self._stuck:
                self._have_back_what_is_stuck(incarnation)
            incarnation.shelf = shelf = (
                self._idle if not incarnation.rank else self._by_rank(incarnation.rank)
            )
            shelf[incarnation] = None
        elif incarnation.load < incarnation.concurrency:
            self._put_by_load(incarnation)

    def _serve(self, incarnation: Incarnation) -> bool:
        """Let those who wait have it; whether it has room after all of them."""
        lines = self.lines
        while self._first or self._waiting or lines.count:
            line = self._first or self._waiting
            waiter = next(iter(line), None)
            if lines.count:
                waiter = lines.foremost(incarnation.slot.number, waiter)
            if waiter is None:
                break  # those who wait do so for other slots
            if incarnation.full:
                # else it would not be offered when the next of its calls ends
                self._hold_no_more(incarnation)
                return False
            if waiter.alone and incarnation.load >= incarnation.concurrency:
                return False  # invariant 5: it is offered again when the next call ends
            if lines.count:
                self.withdraw(waiter)
            else:
                del line[waiter]
            waiter.incarnation = incarnation
            incarnation.take()
            if waiter.alone:
                incarnation.keep_alone(True)
            if incarnation.load > incarnation.concurrency:
                self.held += 1
            trio.lowlevel.reschedule(waiter.task)
        return not incarnation.full

    def _put_by_load(self, incarnation: Incarnation) -> None:
        if self._partly is None:
            self._partly = Shelves()
        incarnation.shelf = self._partly.shelf(incarnation.load)
        incarnation.shelf[incarnation] = None

    def _by_rank(self, rank: int) -> dict[Incarnation, None]:
        if self._further is None:
            self._further = Shelves()
        return self._further.shelf(rank)

    def release(self, incarnation: Incarnation) -> bool:
        """A call on it has ended; whether that changes what it can be given."""
        if incarnation.load > incarnation.concurrency:
            self.held -= 1
            incarnation.load -= 1  # it goes on with what it holds
            return not incarnation.ahead
        incarnation.release()
        return True

    def note_stuck(self, incarnation: Incarnation) -> None:
        """It holds calls behind a long one: have them back now, or as soon as a worker is idle."""
        self.remove(incarnation)
        if incarnation.urgent or self.idle:
            incarnation.ask_back()
        else:
            self._stuck[incarnation] = None

    def remove(self, incarnation: Incarnation) -> None:
        """A worker takes no more calls."""
        if incarnation.shelf is not None:
            del incarnation.shelf[incarnation]
            incarnation.shelf = None
        self._hold_no_more(incarnation)

    def _hold_no_more(self, incarnation: Incarnation) -> None:
        if incarnation.ahead:
            del self._holding[incarnation]
            incarnation.ahead = False

    def refuse_all(self, make: Callable[[], Exception]) -> None:
        """End every wait with an error of its own."""
        waiters = [*self._first, *self._waiting, *self.lines.clear()]
        self._first.clear()
        self._waiting.clear()
        for waiter in waiters:
            self.refuse(waiter, make())

    def refuse(self, waiter: Waiter, error: Exception) -> None:
        """End the wait of one who waits nowhere any more."""
        waiter.error = error
        trio.lowlevel.reschedule(waiter.task)

    def _have_back_what_is_stuck(self, idle: Incarnation) -> None:
        self._stuck.pop(idle, None)
        while self._stuck:
            stuck, _ = self._stuck.popitem()
            if stuck.ask_back():
                return

    def _give_ahead(self) -> Incarnation | None:
        """Have a busy worker hold a call."""
        holding = self._holding
        while holding:
            incarnation = next(iter(holding))
            del holding[incarnation]
            if incarnation.full:  # its calls are longer than they were
                incarnation.ahead = False
                continue
            incarnation.hold()
            self.held += 1
            holding[incarnation] = None  # behind the others: each gets its share
            return incarnation
        return None

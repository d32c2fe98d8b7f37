"""Routing: which slot a call with a key belongs to, and that it moves when that slot cannot serve.

A router is somebody else's code, asked on the way of a call. Whatever it does, each call must have an end; so its
answer is checked, and what it raises ends the call that it was asked for and no other.

Invariants
    1. Only slots are chosen from that have keys: from when their worker is ready, until an attempt to get one fails or
       they are given up.
    2. When the slots change, each call that waits with a key is routed anew; and where there is room for it, it begins.
    3. A call without a key never comes here.

Knows slots, dispatch and a router. Does not wait, and does not know why slots come and go.
Picture: docs/design/routing.md
"""

from __future__ import annotations

from .._errors import FolkError
from ..abc import Key, Router
from .dispatch import Dispatch
from .incarnation import Incarnation, Slot
from .lines import PlacedWaiter

__all__ = ["Routing"]


class Routing:
    """Where keys belong in one pool.

    Args:
        router: says it.
        slots: all of them, by their number.
        dispatch: what gives calls to workers.
    """

    def __init__(self, router: Router, slots: list[Slot], dispatch: Dispatch) -> None:
        self._router = router
        self._slots = slots
        self._dispatch = dispatch
        self._homes: tuple[int, ...] = ()
        self._there: frozenset[int] = frozenset()  # the same, to look whether one is among them

    def __repr__(self) -> str:
        return f"<Routing by {self._router!r} over {len(self._homes)} of {len(self._slots)} slots>"

    def decide(self, key: Key, *, at_once: bool, alone: bool) -> Incarnation | None:
        """Take the worker that a call with this key belongs to, or None if it must wait for it or be refused.

        Raises:
            FolkError: the router failed.
        """
        slot = self._route(key)
        if slot is None or self._dispatch.lines.length(slot):
            return None
        incarnation = self._slots[slot].incarnation
        if incarnation is None or not self._dispatch.take(incarnation, at_once=at_once, alone=alone):
            return None
        return incarnation

    def queue(self, waiter: PlacedWaiter, *, first: bool) -> None:
        """Let a task wait for the slot that its call belongs to.

        Raises:
            FolkError: the router failed.
        """
        assert waiter.place.key is not None
        self._dispatch.queue_for(waiter, self._route(waiter.place.key), first=first)

    def note_serves(self, slot: Slot) -> None:
        """A slot has a worker that is ready, and is about to be offered."""
        if slot.number not in self._there:
            self._change((*self._homes, slot.number))

    def note_gone(self, slot: Slot) -> None:
        """A slot has failed to get a worker, or is given up."""
        if slot.number in self._there:
            self._change(tuple(each for each in self._homes if each != slot.number))

    def _change(self, homes: tuple[int, ...]) -> None:
        self._homes, self._there = tuple(sorted(homes)), frozenset(homes)
        lines = self._dispatch.lines
        if not lines.count:
            return
        routes: list[tuple[PlacedWaiter, int | None]] = []
        failures: list[tuple[PlacedWaiter, FolkError]] = []
        for waiter in lines.keyed():  # nobody is taken out of a line before each has a slot or an error
            assert waiter.place.key is not None
            try:
                routes.append((waiter, self._route(waiter.place.key)))
            except FolkError as error:
                failures.append((waiter, error))
        lines.move(routes)
        for waiter, failure in failures:
            self._dispatch.refuse(waiter, failure)
        self._offer_what_has_room()

    def _offer_what_has_room(self) -> None:
        for number in self._homes:
            incarnation = self._slots[number].incarnation
            if incarnation is not None and self._dispatch.lines.length(number):
                self._dispatch.offer(incarnation)

    def _route(self, key: Key) -> int | None:
        """The number of a slot that has keys, or None while there is none."""
        if not self._homes:
            return None
        try:
            slot = self._router.route(key, self._homes, self._load)
        except Exception as error:
            raise _failed(self._router, key, f"raised {error!r}") from error
        if type(slot) is not int or slot not in self._there:
            raise _failed(self._router, key, f"named {slot!r}, which is none of the slots {self._homes}")
        return slot

    def _load(self, slot: int) -> int:
        """How many calls run in a slot, or wait for it.

        Raises:
            ValueError: there is no such slot to choose from.
        """
        if slot not in self._there:
            raise ValueError(f"{slot!r} is none of the slots {self._homes}")
        incarnation = self._slots[slot].incarnation
        running = 0 if incarnation is None else incarnation.load
        return running + self._dispatch.lines.length(slot)


def _failed(router: Router, key: Key, what: str) -> FolkError:
    return FolkError(
        f"{router!r} {what}, asked where the key {key!r:.200} belongs",
        stage="queue",
        hint="the call never ran: a router returns one of the slots that it is given, and does not raise",
    )

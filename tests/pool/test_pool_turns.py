"""Recycling, by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trio_folk._pool.recycling import Recycling


class _Fakes:
    """Due workers, and a record of who was retired."""

    def __init__(self, slots: int) -> None:
        self.retired: list[int] = []
        self.recycling = Recycling(self.retire)
        self.workers: list[Any] = [
            SimpleNamespace(slot=SimpleNamespace(number=n), retiring=None, serves=True) for n in range(slots)
        ]

    def retire(self, worker: Any, reason: str) -> None:
        worker.retiring = reason
        self.retired.append(worker.slot.number)


def test_two_healthy_workers_are_never_replaced_at_once() -> None:
    """The second waits until the first slot has a ready worker again."""
    fakes = _Fakes(3)
    for worker in fakes.workers:
        fakes.recycling.ask(worker, "ttl")
    assert fakes.retired == [0]
    fakes.recycling.settled(1)
    assert fakes.retired == [0]
    fakes.recycling.settled(0)
    assert fakes.retired == [0, 2]  # slot 1 settled meanwhile: it has a new worker
    assert fakes.recycling.slot == 2


def test_a_worker_that_died_while_it_waited_loses_its_turn() -> None:
    """The turn passes to the next."""
    fakes = _Fakes(3)
    for worker in fakes.workers:
        fakes.recycling.ask(worker, "ttl")
    fakes.workers[1].serves = False
    fakes.recycling.settled(0)
    assert fakes.retired == [0, 2]


def test_asking_twice_changes_nothing() -> None:
    """It is looked at after every call."""
    fakes = _Fakes(2)
    for _ in range(3):
        fakes.recycling.ask(fakes.workers[0], "max_jobs")
        fakes.recycling.ask(fakes.workers[1], "max_jobs")
    assert fakes.retired == [0]
    fakes.recycling.settled(0)
    assert fakes.retired == [0, 1]

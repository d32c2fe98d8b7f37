"""Who runs first: tasks that can run at the same time are ordered by a hash of seed, name and step.

Trio only reverses a batch or does not, by chance. An order by hash is as arbitrary, reaches every order by some
seed, and is the same in the next run, on another machine and after one task more.

Knows names of tasks. Does not know what they do.
"""

from __future__ import annotations

import random
from collections.abc import MutableSequence
from hashlib import blake2b
from typing import Any

import trio

from . import privates
from .points import TaskNames

__all__ = ["Order"]


class Order(random.Random):
    """Stands in for trio's random numbers.

    Attributes:
        mattered: whether there ever was a choice between two of the program's tasks.
    """

    mattered: bool

    def __init__(self, seed: int, names: TaskNames) -> None:
        super().__init__(seed)
        self.mattered = False
        self._seed = seed
        self._names = names

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Order a batch of tasks."""
        if len(x) > 1:
            self.mattered |= sum(not self._names.is_trios(task) for task in x) > 1
            x.sort(key=self._rank)  # type: ignore[attr-defined]  # trio's batch is a list

    def _rank(self, task: trio.lowlevel.Task) -> bytes:
        what = f"{self._seed}:{self._names[task]}:{privates.steps_taken(task)}"
        return blake2b(what.encode(), digest_size=8).digest()

"""The plan of `bench.mixed`: when each caller calls, and which of its calls are the long ones.

Without pauses 64 callers would soon fill four slots with long calls whatever a library does, and every table
would show that. So callers pause, for as long as it takes to have 300 calls a second: the long ones offer four slots
0.6 of one's work, and by Erlang's formula three short calls in a thousand find all four taken, fewer than p99 looks at.

Knows numbers: the same ones for every peer, from a seed. Does not know pools.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from heapq import heapify, heapreplace

import attrs

from bench.jobs import LONG

CALLERS, SLOTS = 64, 4
RATE = 300.0  # calls a second, all callers together
BURST_EVERY = 0.3  # seconds from one call of all 64 to the next: a long one has ended by then
LONG_SHARE = 0.01
_SEED = 29  # with which it is three in a thousand, too


@attrs.frozen
class Turn:
    """One call of one caller: not before this many seconds have passed, and whether it is a long one."""

    at: float
    long: bool


Plan = Sequence[Sequence[Turn]]
"""The turns of each caller."""


def steady(duration: float) -> Plan:
    """Each caller thinks for a random time before each call."""
    thinking = random.Random(_SEED)
    times = [[*_thoughts(thinking, duration)] for _ in range(CALLERS)]
    return _with_long_ones(times)


def bursts(count: int) -> Plan:
    """All callers call at the same moment, again and again."""
    return _with_long_ones([[number * BURST_EVERY for number in range(count)] for _ in range(CALLERS)])


def all_taken(plan: Plan) -> float:
    """The share of short calls that find every slot in a long one, where nothing but these takes time."""
    free_at = [0.0] * SLOTS
    heapify(free_at)
    found = 0
    turns = sorted((turn for caller in plan for turn in caller), key=lambda turn: turn.at)
    for turn in turns:
        if turn.long:
            heapreplace(free_at, max(free_at[0], turn.at) + LONG)
        elif free_at[0] > turn.at:
            found += 1
    return found / sum(not turn.long for turn in turns)


def _thoughts(thinking: random.Random, duration: float) -> Sequence[float]:
    times = []
    at = thinking.expovariate(RATE / CALLERS)
    while at < duration:
        times.append(at)
        at += thinking.expovariate(RATE / CALLERS)
    return times


def _with_long_ones(times: Sequence[Sequence[float]]) -> Plan:
    """One call in a hundred is long: so many of all, at random."""
    places = [(caller, number) for caller, each in enumerate(times) for number in range(len(each))]
    chosen = {*random.Random(_SEED).sample(places, max(1, round(len(places) * LONG_SHARE)))}
    return [
        [Turn(at, (caller, number) in chosen) for number, at in enumerate(each)]
        for caller, each in enumerate(times)
    ]

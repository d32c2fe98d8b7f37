"""callers: how many 100-byte echoes a second 64 concurrent callers get out of two workers."""

from __future__ import annotations

import time

import trio

from bench.calls import PAYLOAD
from bench.interface import Call, Peer, Values
from bench.jobs import echo

TITLE = "64 callers, 2 workers, 100-byte echo; calls/s"
COLUMNS = ("calls/s",)
CALLERS, WORKERS = 64, 2
WARM_UP, DURATION = 0.2, 2.0  # seconds
SHORT_WARM_UP, SHORT_DURATION = 0.02, 0.1


def measure(peer: Peer, short: bool) -> Values:
    """Count the answers of a fixed time, after a warm-up that is not counted."""
    warm_up, duration = (SHORT_WARM_UP, SHORT_DURATION) if short else (WARM_UP, DURATION)
    return {"calls/s": trio.run(_rate, peer, warm_up, duration)}


async def _rate(peer: Peer, warm_up: float, duration: float) -> float:
    async with peer.open(WORKERS) as call:
        await _answers(call, warm_up)
        began = time.perf_counter()
        answers = await _answers(call, duration)
        return answers / (time.perf_counter() - began)


async def _answers(call: Call, duration: float) -> int:
    """All callers go on until the time is over, and each awaits its last answer: nothing is cancelled."""
    until = time.perf_counter() + duration
    answers = 0

    async def caller() -> None:
        nonlocal answers
        while time.perf_counter() < until:
            await call(echo, PAYLOAD)
            answers += 1

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)
    return answers

"""What tests of streams have done in workers: generators that say in a file how far they came and how they ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import trio
import trio.lowlevel

from trio_folk.worker import Worker, current_call

plain = Worker()
eager = Worker(concurrency=4)
alive: list[Iterator[int]] = []


@plain.method
def pid() -> int:
    return os.getpid()


eager.method(pid)


@plain.method
def traced(trace: str, number: int) -> Iterator[int]:
    try:
        for each in range(number):
            Path(trace).write_text(str(each))
            yield each
    finally:
        Path(trace).write_text("closed")


eager.method("traced in a thread")(traced)


@eager.method("traced")
async def traced_async(trace: str, number: int) -> AsyncIterator[int]:
    try:
        for each in range(number):
            Path(trace).write_text(str(each))
            yield each
    finally:
        await trio.lowlevel.checkpoint()
        Path(trace).write_text("closed")


@plain.method
@eager.method
def large(number: int, size: int) -> Iterator[bytes]:
    for each in range(number):
        yield bytes([each % 256]) * size


@plain.method
@eager.method
def dies(after: int) -> Iterator[int]:
    yield from range(after)
    os.kill(os.getpid(), signal.SIGKILL)


@plain.method
def swallows() -> Iterator[int]:
    """Disobey, and compute on."""
    while True:
        with suppress(GeneratorExit):
            yield 1
        time.sleep(0.001)


@plain.method
def never_closes(trace: str) -> Iterator[int]:
    try:
        yield 1
    finally:
        Path(trace).write_text(str(os.getpid()))
        while True:
            time.sleep(0.001)


@plain.method
def reports_for_ever() -> None:
    step = 0
    while True:
        current_call().checkpoint()
        current_call().progress(step := step + 1)
        time.sleep(0.001)

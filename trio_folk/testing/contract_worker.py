"""The workers that `RuntimeContract` calls: each method has one property that a runtime must cope with.

A runtime's own tests start them as ``trio_folk.testing.contract_worker:worker``, whose methods are
synchronous, or ``...:async_worker``, of which four calls run at once and each can be stopped.

Knows the SDK. A worker imports this file, so it imports nothing else.
"""

from __future__ import annotations

import os
import sys
import time

from trio_folk.worker import Worker, current_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

__all__ = ["async_worker", "worker"]

worker: Worker = Worker()
async_worker: Worker = Worker(concurrency=4)


@worker.method
@async_worker.method
def add(a: int, b: int = 1) -> int:
    """Positional or keyword arguments."""
    return a + b


@worker.method
@async_worker.method
def fail(message: str) -> None:
    """Fails."""
    raise ValueError(message)


@worker.method
@async_worker.method
def pid() -> int:
    """The process it runs in."""
    return os.getpid()


@worker.method
def sleep(seconds: float) -> float:
    """Holds its worker."""
    time.sleep(seconds)
    return seconds


@async_worker.method("sleep")
async def sleep_async(seconds: float) -> float:
    """Holds one call, and not its worker."""
    import trio

    await trio.sleep(seconds)
    return seconds


@worker.method
def spin() -> None:
    """Never returns, and never lets go of the interpreter for long."""
    while True:
        pass


@worker.method
@async_worker.method
def exit_with(status: int) -> None:
    """Ends its process at once, with some last words."""
    print("these are its last words", file=sys.stderr, flush=True)
    os._exit(status)


@worker.method
@async_worker.method
def blob(size: int) -> bytes:
    """So many bytes."""
    return b"x" * size


@worker.method(raw=True)
@async_worker.method(raw=True)
def type_name(value: object) -> str:
    """What the value was on arrival."""
    return type(value).__name__


@worker.method
@async_worker.method
def count(number: int) -> Iterator[int]:
    """So many items, each reported too."""
    for each in range(number):
        current_call().progress(each + 1, number)
        yield each


@async_worker.method
async def count_async(number: int) -> AsyncIterator[int]:
    """The same, awaited."""
    import trio

    for each in range(number):
        await trio.lowlevel.checkpoint()
        yield each


@worker.method
@async_worker.method
def gather() -> Generator[int, None, int]:
    """The size of each piece that it is fed; returns how many bytes they were."""
    total = 0
    while piece := current_call().receive():
        total += len(piece)
        yield len(piece)
    return total


@worker.method
@async_worker.method
def half(number: int) -> int:
    """Reports a half, and the whole."""
    current_call().progress(number / 2, number)
    current_call().progress(number, number)
    return number


@worker.method
@async_worker.method
def unspeakable() -> object:
    """Something that no message can hold."""
    return object()

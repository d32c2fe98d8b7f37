"""Methods that yield, for the tests of the worker room: synchronous ones, and in `eager` asynchronous ones too."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import trio
import trio.lowlevel

from trio_folk.worker import Worker, current_call

plain = Worker()
eager = Worker()
several = Worker(concurrency=4)
SEEN: list[Any] = []


def everywhere(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Offer a function in all three workers."""
    for worker in (plain, eager, several):
        worker.method(fn)
    return fn


def wrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fn)
    def call(*args: Any) -> Any:
        return fn(*args)

    return call


@everywhere
def seen() -> list[Any]:
    found = SEEN[:]
    SEEN.clear()
    return found


@everywhere
def count(number: int) -> Iterator[int]:
    """Note what it began to make, and how it ended."""
    try:
        for each in range(number):
            SEEN.append(each)
            yield each
    finally:
        SEEN.append("closed")


for each_worker in (plain, eager, several):
    each_worker.method("wrapped")(wrapped(count))


@everywhere
def fails(after: int) -> Iterator[int]:
    yield from range(after)
    raise LookupError("no more rows")


@everywhere
def unspeakable() -> Iterator[object]:
    try:
        yield 1
        yield object()
    finally:
        SEEN.append("closed")


@everywhere
def too_large(size: int) -> Iterator[bytes]:
    yield b"x" * size


@everywhere
def swallows() -> Iterator[int]:
    """Disobeys."""
    while True:
        with suppress(GeneratorExit):
            yield 1


@everywhere
def fails_to_close() -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        raise OSError("the disk is full")


@everywhere
def asks() -> Iterator[int]:
    """Compute for ever between two items, and ask whether anybody wants them."""
    try:
        yield 1
        while True:
            current_call().checkpoint()
            time.sleep(0.001)
    finally:
        SEEN.append("closed")


@everywhere
def reports(steps: int, pause: float = 0.0) -> str:
    for step in range(steps + 1):
        current_call().progress(step, steps)
        time.sleep(pause)
    return "done"


@everywhere
def reports_from_a_thread() -> str:
    call = current_call()
    thread = threading.Thread(target=call.progress, args=(1,))
    thread.start()
    thread.join()
    return "done"


@everywhere
def reports_nonsense() -> None:
    current_call().progress("half")  # type: ignore[arg-type]


@everywhere
def reports_items(number: int) -> Iterator[int]:
    for each in range(number):
        current_call().progress(each + 1, number)
        yield each


@eager.method
@several.method
async def acount(number: int) -> AsyncIterator[int]:
    try:
        for each in range(number):
            SEEN.append(each)
            yield each
            await trio.lowlevel.checkpoint()
    finally:
        await trio.lowlevel.checkpoint()
        SEEN.append("closed")


@eager.method
@several.method
async def awaits() -> AsyncIterator[int]:
    """Wait for ever after the first item."""
    try:
        yield 1
        await trio.sleep_forever()
    finally:
        SEEN.append("closed")


@eager.method
@several.method
async def aswallows() -> AsyncIterator[int]:
    while True:
        with suppress(GeneratorExit):
            yield 1


@eager.method
@several.method
async def in_a_scope(seconds: float) -> AsyncIterator[str]:
    """Stand at a yield inside a scope of its own, which may end there."""
    with trio.move_on_after(seconds):
        while True:
            yield "inside"
    yield "after"


@eager.method
@several.method
async def closes_slowly(seconds: float) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await trio.sleep(seconds)
        SEEN.append("closed")


@eager.method
@several.method
async def afails(after: int) -> AsyncIterator[int]:
    for each in range(after):
        yield each
    raise LookupError("no more rows")


@eager.method
@several.method
async def areports(steps: int) -> str:
    for step in range(steps + 1):
        current_call().progress(step, steps)
        await trio.sleep(0.01)
    return "done"

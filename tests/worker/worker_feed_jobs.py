"""Methods that are fed, for the tests of several rooms: synchronous ones, and in `eager` asynchronous ones too."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

from trio_folk.worker import Worker, current_call

plain = Worker()
eager = Worker()
several = Worker(concurrency=4)
SEEN: list[Any] = []


def digest(most: int | None = None) -> Iterator[Any]:
    """Give nothing, return what it was fed: how many bytes, and their digest."""
    total, found = 0, hashlib.sha256()
    try:
        while (most is None or total < most) and (piece := current_call().receive()):
            total += len(piece)
            found.update(piece)
    except BaseException as error:
        SEEN.append(type(error).__name__)
        raise
    return [total, found.hexdigest(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    yield


async def adigest() -> AsyncIterator[Any]:
    """Give, at the end, what it was fed."""
    total, found = 0, hashlib.sha256()
    try:
        while piece := await current_call().areceive():
            total += len(piece)
            found.update(piece)
    except BaseException as error:
        SEEN.append(type(error).__name__)
        raise
    yield [total, found.hexdigest(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]


def upper() -> Iterator[bytes]:
    """Give back each piece as it comes."""
    while piece := current_call().receive():
        yield piece.upper()


def ignore() -> Iterator[str]:
    """Read nothing of it."""
    return "done"
    yield


def seen() -> list[Any]:
    found = SEEN[:]
    SEEN.clear()
    return found


for worker in (plain, eager, several):
    for method in (digest, upper, ignore, seen):
        worker.method(method)
for worker in (eager, several):
    worker.method(adigest)

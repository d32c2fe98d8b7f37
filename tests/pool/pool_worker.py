"""A worker for the pool's tests: its time is trio's, so a mocked clock runs it."""

from __future__ import annotations

import trio

from trio_folk.worker import Worker


def make(concurrency: int = 1) -> tuple[Worker, list[object]]:
    """A worker, and the record of what it began to do."""
    worker = Worker(concurrency)
    began: list[object] = []

    @worker.method
    async def sleep(seconds: float) -> float:
        began.append(seconds)
        await trio.sleep(seconds)
        return seconds

    @worker.method
    async def note(what: object) -> object:
        began.append(what)
        return what

    @worker.method
    async def fail(message: str) -> None:
        raise ValueError(message)

    return worker, began

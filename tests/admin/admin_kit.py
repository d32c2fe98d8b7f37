"""What the tests of administration share: a folder for sockets, a served pool, and clients that do as they like."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from trio_folk import PoolConfig, SpawnBudget, WorkerPool, admin, open_pool
from trio_folk._wire import Message, MessageDecoder
from trio_folk.testing import FaultyRuntime

BOUND = 60.0  # seconds; each of these takes less than one
CONFIG = PoolConfig(slots=3, budget=SpawnBudget(1000, 30))


@contextmanager
def folder() -> Iterator[str]:
    """A directory that is ours alone, with a path short enough for a socket, and that others may be let into."""
    made = tempfile.mkdtemp(prefix="folk-admin-")
    try:
        yield made
    finally:
        shutil.rmtree(made)


@asynccontextmanager
async def served(
    path: str, runtime: FaultyRuntime | None = None, **options: Any
) -> AsyncIterator[WorkerPool]:
    """A pool that is administered on this path, and is gone with its socket afterwards."""
    workers = runtime or FaultyRuntime()
    async with open_pool(workers, config=CONFIG, name="thumbs") as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(3)

        async def serve(*, task_status: trio.TaskStatus[str]) -> None:
            await admin.serve(pool, path, task_status=task_status, **options)

        with trio.fail_after(BOUND):
            await nursery.start(serve)
            yield pool
            nursery.cancel_scope.cancel()
    assert not os.path.exists(path)


@asynccontextmanager
async def raw(path: str) -> AsyncIterator[trio.SocketStream]:
    """A connection that says what the test says."""
    async with await trio.open_unix_socket(path) as stream:
        yield stream


async def hear(stream: trio.SocketStream, messages: int = 1) -> list[Message]:
    """So many messages, or fewer if the other side closes."""
    decoder, heard = MessageDecoder(), list[Message]()
    while len(heard) < messages:
        try:
            data = await stream.receive_some()
        except trio.BrokenResourceError:
            return heard
        if not data:
            return heard
        heard += decoder.feed(data)
    return heard


async def hear_end(stream: trio.SocketStream) -> list[Message]:
    """Everything until the other side closes."""
    return await hear(stream, 1_000_000)

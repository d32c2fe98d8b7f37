"""A worker's life from launch to grave: attend to it, and when it is condemned take it down the ladder.

Everything that belongs to a worker runs in one nursery here, shielded from the cancellation of its owner:
being cancelled is only one more reason to take the ladder, and while it is taken the worker's output is
still drained and its death still noticed.

Knows the handle and a body that can be waited for and signalled. Does not know what the body is made of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from .._process import Body, descend
from ..abc import Ladder, Rung
from ._handle import SocketWorker

__all__ = ["live"]

LAST_WORDS = 0.25
"""Seconds after a worker's death in which what it wrote last is still read; a grandchild may hold the pipe."""


async def live(
    worker: SocketWorker, body: Body, ladder: Ladder, drains: Sequence[Callable[[], Awaitable[object]]] = ()
) -> None:
    """Return when the worker is gone, or could not be brought to go within its ladder.

    Cancellation: the worker is taken down the ladder, from SIGTERM if a call runs on it; then it goes on.
    """
    crew = trio.CancelScope(shield=True)
    drained = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_attend, worker, body, drains, crew, drained)
        try:
            await worker.condemned.wait()
        except trio.Cancelled:
            worker.terminate("its pool was closed", Rung.STOP if worker.idle else Rung.TERMINATE)
            raise
        finally:
            with trio.CancelScope(shield=True):  # bounded by the ladder and LAST_WORDS
                await _descend(worker, body, ladder)
                with trio.move_on_after(LAST_WORDS):
                    await drained.wait()
            crew.cancel()


async def _attend(
    worker: SocketWorker,
    body: Body,
    drains: Sequence[Callable[[], Awaitable[object]]],
    crew: trio.CancelScope,
    drained: trio.Event,
) -> None:
    with crew:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.attend)
            nursery.start_soon(worker.pump)
            nursery.start_soon(_watch, worker, body)
            async with trio.open_nursery() as output:
                for drain in drains:
                    output.start_soon(drain)
            drained.set()


async def _watch(worker: SocketWorker, body: Body) -> None:
    worker.note_death(await body.wait())


async def _descend(worker: SocketWorker, body: Body, ladder: Ladder) -> None:
    """Down the ladder, and on from a higher rung as soon as one is asked for."""
    while True:
        rung = worker.rung
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_skip, worker, rung, nursery.cancel_scope)
            await descend(body, ladder, rung, worker.stop, worker.note_rung)
            nursery.cancel_scope.cancel()
        if worker.rung == rung or worker.exit is not None:
            return


async def _skip(worker: SocketWorker, rung: Rung, step: trio.CancelScope) -> None:
    if worker.rung == rung:
        await worker.rises()
    step.cancel()

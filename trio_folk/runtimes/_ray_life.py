"""A worker on Ray from its launch to its end: it becomes ready in time, its heart beats, and it goes down its ladder.

Ray has no word for a place that does not come: what it cannot place stays pending. And it takes a minute to call a node
dead that answers nobody. So both have a clock of ours.

Invariants
    1. Whatever happens, the worker is asked to end, and waited for no longer than its ladder.
    2. A loop that was held up does not take its own silence for the worker's.

Knows the handle and the actor. Does not know where it was placed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from .._errors import BootFailed
from ..abc import Ladder, Rung
from . import _ray_api as api
from ._ray_bridge import Bridge
from ._ray_handle import RayWorker

__all__ = ["RayClocks", "live"]

KILL_BOUND = 10.0
"""Seconds for Ray to take the order to kill an actor."""
SELDOM = 60.0
"""Seconds of a heartbeat that is not wanted: a worker's memory is still looked at, four times within them."""
_BEATS = 8  # within one heartbeat's time: a few are asked for, and the answer is looked for more than once


@attrs.frozen
class RayClocks:
    """How long Ray's workers may take.

    Attributes:
        ready: seconds from the launch until it has said that it is ready.
        heartbeat: seconds without an answer after which its node counts as frozen; inf: never.
    """

    ready: float
    heartbeat: float


async def live(
    worker: RayWorker,
    actor: api.RayActor,
    bridge: Bridge,
    ladder: Ladder,
    clocks: RayClocks,
    explain: Callable[[float], Awaitable[BootFailed]],
) -> None:
    """Return when the worker is gone, or could not be brought to go within its ladder.

    Args:
        explain: says why a worker is not ready after so many seconds.

    Cancellation: the worker is taken down the ladder, at once killed if a call runs on it; then it goes on.
    """
    crew = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_attend, worker, actor, bridge, clocks, explain, crew)
        try:
            await worker.condemned.wait()
        except trio.Cancelled:
            worker.terminate("its pool was closed", Rung.STOP if worker.idle else Rung.TERMINATE)
            raise
        finally:
            with trio.CancelScope(shield=True):  # bounded by the ladder and KILL_BOUND
                await _descend(worker, actor, bridge, ladder)
            crew.cancel()


async def _attend(
    worker: RayWorker,
    actor: api.RayActor,
    bridge: Bridge,
    clocks: RayClocks,
    explain: Callable[[float], Awaitable[BootFailed]],
    crew: trio.CancelScope,
) -> None:
    with crew:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, worker, actor, bridge)
            promise = bridge.promise(actor.ready())
            with trio.move_on_after(clocks.ready):
                await promise.kept.wait()
            if not promise.kept.is_set():
                worker.refuse(await explain(clocks.ready))
                return
            worker.hear_ready(promise.value)
            await _beat(worker, actor, bridge, clocks.heartbeat)


async def _watch(worker: RayWorker, actor: api.RayActor, bridge: Bridge) -> None:
    """Learn of its death at once, also when it is idle."""
    promise = bridge.promise(actor.vigil())
    await promise.kept.wait()
    if isinstance(promise.value, BaseException):
        worker.note_death(promise.value)


async def _beat(worker: RayWorker, actor: api.RayActor, bridge: Bridge, seconds: float) -> None:
    """Until it is condemned, see that it answers within so many seconds."""
    step = min(seconds, SELDOM) / _BEATS
    while not worker.condemned.is_set():
        promise = bridge.promise(actor.beat())
        for _ in range(_BEATS - 2):
            if not promise.kept.is_set() and seconds < float("inf"):
                with trio.move_on_after(
                    step
                ):  # in steps: after a stall, what has arrived is looked at (invariant 2)
                    await promise.kept.wait()
        if seconds == float("inf"):
            await promise.kept.wait()
        if not promise.kept.is_set():
            worker.fence(f"its node has not answered for {seconds:g} s (heartbeat)")
            return
        if isinstance(promise.value, BaseException):
            worker.note_death(promise.value)
            return
        worker.rss = promise.value if type(promise.value) is int else 0
        with trio.move_on_after(2 * step):
            await worker.condemned.wait()


async def _descend(worker: RayWorker, actor: api.RayActor, bridge: Bridge, ladder: Ladder) -> None:
    """Let it go, then kill it; on from a higher rung as soon as one is asked for."""
    if worker.rung is Rung.STOP and not worker.gone.is_set():
        worker.note_rung(Rung.STOP)
        await _leave(worker, actor, bridge, ladder.stop)
    if not worker.gone.is_set():
        await worker.settle_held()
        worker.note_rung(Rung.KILL)
        with trio.move_on_after(KILL_BOUND):
            await trio.to_thread.run_sync(actor.kill, abandon_on_cancel=True)
        with trio.move_on_after(ladder.kill):
            await worker.gone.wait()


async def _leave(worker: RayWorker, actor: api.RayActor, bridge: Bridge, seconds: float) -> None:
    """Its calls finish, its exit handlers run, and Ray says that it is dead."""
    bridge_holds = bridge.promise(actor.leave())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_skip, worker, nursery.cancel_scope)
        with trio.move_on_after(seconds):
            await bridge_holds.kept.wait()
            if isinstance(bridge_holds.value, BaseException):
                worker.note_death(bridge_holds.value)
        nursery.cancel_scope.cancel()


async def _skip(worker: RayWorker, step: trio.CancelScope) -> None:
    if worker.rung is Rung.STOP:
        await worker.rises()
    step.cancel()

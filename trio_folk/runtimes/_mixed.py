"""The mixed runtime: several runtimes in one pool, each with slots of its own, the first ones preferred.

A machine has so many processors, a cluster has more that are further away. Two pools would need somebody who decides
between them at each call; in one pool the slots of this machine are taken first, and the others while those are busy.

Invariants
    1. Which part makes a slot's workers depends on the slot's number alone; spares are made by the first.
    2. The traits promise what all parts keep.

Knows runtimes by their interface. Does not know what kinds there are.
Picture: docs/design/routing.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from ..abc import Birth, Chunk, Job, Runtime, Stream, Traits, WorkerHandle
from ._mixed_jobs import MixedChunk, MixedJob, MixedStream
from ._mixed_worker import MixedWorker

__all__ = ["MixedRuntime"]


class MixedRuntime(Runtime):
    """Workers of several runtimes in one pool: ``MixedRuntime((PipeRuntime.python("jobs:worker"), 4), (other, 8))``.

    The first four slots have workers of the first, the next eight of the second; a pool has twelve then, without being
    told. A call goes to an idle worker of the first part, and to one of the second only while there is none.
    With ``PoolConfig(slots=12, min_slots=4)`` the second part has workers only while calls wait, or did not long ago.

    A call is encoded for the first part at once, and for another when a worker of that one gets it: do not change its
    parameters while it runs. What the first part cannot send is refused before it takes a slot; what only another
    cannot fails when it gets there. Python functions can be run if all parts run them. Each part has a budget of
    attempts of its own, so that one which cannot boot leaves the others theirs.

    Args:
        parts: each a runtime and how many slots it has, the preferred ones first.

    Raises:
        TypeError, ValueError: that is no such part, or there is none.
    """

    def __init__(self, *parts: tuple[Runtime, int]) -> None:
        if not parts:
            raise ValueError("a mixed runtime has at least one part: MixedRuntime((runtime, slots), ...)")
        for part in parts:
            _check(part)
        self._runtimes = [runtime for runtime, _ in parts]
        self._part_of_slot = [number for number, (_, slots) in enumerate(parts) for _ in range(slots)]
        self.slots: int | None = len(self._part_of_slot)
        self.traits: Traits = _common([runtime.traits for runtime in self._runtimes])

    def __repr__(self) -> str:
        counts = [self._part_of_slot.count(number) for number in range(len(self._runtimes))]
        parts = (f"{count} of {each!r}" for count, each in zip(counts, self._runtimes, strict=True))
        return f"<MixedRuntime {', '.join(parts)}>"

    def part(self, slot: int) -> int:
        return self._part_of_slot[slot] if slot < len(self._part_of_slot) else 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What each part needs, as long as any worker lives.

        Cancellation: whatever the parts have started is ended.
        """
        async with trio.open_nursery() as nursery:
            for runtime in self._runtimes:
                await nursery.start(runtime.run)
            task_status.started()

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        part = self.part(birth.id.slot)
        await self._runtimes[part].spawn(birth, task_status=_Ranking(part, task_status))

    def forget(self, generation: int) -> None:
        for runtime in self._runtimes:
            runtime.forget(generation)

    def prepare(self, method: str, params: object) -> Job:
        return MixedJob([partial(each.prepare, method, params) for each in self._runtimes])

    def prepare_stream(self, method: str, params: object, *, window: int, feed: bool = False) -> Stream:
        more = {"feed": True} if feed else {}  # a part may be a runtime that knows of no feeds
        return MixedStream(
            [partial(each.prepare_stream, method, params, window=window, **more) for each in self._runtimes]
        )

    def prepare_python(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Job:
        self._need_python()
        return MixedJob([partial(each.prepare_python, fn, args, kwargs) for each in self._runtimes])

    def prepare_chunk(
        self, fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], *, seconds: float, stop: bool
    ) -> Chunk | None:
        self._need_python()
        first = self._runtimes[0].prepare_chunk(fn, items, seconds=seconds, stop=stop)
        if first is None:
            return None
        items = items[: first.count]
        return MixedChunk(
            first,
            [partial(each.prepare_chunk, fn, items, seconds=seconds, stop=stop) for each in self._runtimes],
            [partial(each.prepare_python, fn, items[0], {}) for each in self._runtimes],
        )

    def _need_python(self) -> None:
        for runtime in self._runtimes:
            if not runtime.traits.python:
                raise TypeError(
                    f"the workers of {runtime!r}, a part of the mixed runtime, do not run Python functions: call a "
                    "named method with execute(), or give those that do a pool of their own"
                )


class _Ranking:
    """Let whoever waits for a part's worker have it with the part's rank."""

    def __init__(self, rank: int, status: trio.TaskStatus[WorkerHandle]) -> None:
        self._rank = rank
        self._status = status

    def started(self, value: WorkerHandle | None = None) -> None:
        assert value is not None  # the protocol of trio has it optional, for those that start with nothing
        self._status.started(MixedWorker(value, self._rank))


def _check(part: object) -> None:
    match part:
        case (MixedRuntime(), _):
            raise TypeError("a part of a mixed runtime is not itself mixed: name its parts instead")
        case (Runtime(), bool()):
            pass
        case (Runtime(), int(slots)):
            if slots < 1:
                raise ValueError(f"a part of a mixed runtime has at least 1 slot, not {slots}")
            return
    raise TypeError(f"a part of a mixed runtime is a runtime and its number of slots, not {part!r}")


def _common(traits: Sequence[Traits]) -> Traits:
    """What all of them promise."""
    return Traits(
        processes=all(each.processes for each in traits),
        interruptible=all(each.interruptible for each in traits),
        recyclable=all(each.recyclable for each in traits),
        python=all(each.python for each in traits),
        keeps_generations=all(each.keeps_generations for each in traits),
    )

"""A runtime of a user's own, made of public names alone; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

import trio

import trio_folk
from trio_folk.abc import Birth, Job, Runtime, WorkerHandle


class OwnJob(Job):
    def __init__(self, method: str, params: object) -> None:
        self.method = method
        self.params = params


class OwnRuntime(Runtime):
    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        assert_type(birth.id.slot, int)
        task_status.started("a worker")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def prepare(self, method: str, params: object) -> Job:
        return OwnJob(method, params)


class HalfRuntime(Runtime):
    """`prepare` is missing."""

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None: ...


async def own_runtime() -> None:
    async with trio_folk.open_pool(OwnRuntime()) as pool:
        assert_type(pool, trio_folk.WorkerPool)
    HalfRuntime()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]

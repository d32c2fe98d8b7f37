"""What programs written with `trio_typing` pass to us is accepted: checked by mypy with trio-typing installed.

Its stubs shadow trio's own types (docs/types.md), so this file is checked in an environment of its own.
"""

from __future__ import annotations

from typing import assert_type

import trio
from trio_typing import Nursery, TaskStatus

import trio_folk
from trio_folk.abc import Birth, Job, Runtime, WorkerHandle


class OwnRuntime(Runtime):
    async def spawn(
        self, birth: Birth, *, task_status: TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        assert_type(birth.id.slot, int)

    def prepare(self, method: str, params: object) -> Job:
        return Job()


async def serve(nursery: Nursery) -> None:
    pool: trio_folk.WorkerPool = await nursery.start(trio_folk.run_pool, OwnRuntime())
    assert_type(await pool.run_sync(len, "text"), int)


async def main(*, task_status: TaskStatus[trio_folk.WorkerPool] = trio.TASK_STATUS_IGNORED) -> None:
    async with trio_folk.open_pool(OwnRuntime()) as pool:
        task_status.started(pool)
        await trio.sleep_forever()

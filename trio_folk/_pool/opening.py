"""Opening and closing a pool: what leaves the block, and that nothing is left after it.

Invariants
    1. The block begins when the first worker is ready, or not at all.
    2. However it is left, every worker is gone before it is.
    3. The block's own exception leaves bare; a failure of supervision as one FolkError; both as a group.

Knows the core's events. Does not know calls or workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

import attrs
import trio

from .._errors import CrashLoop, FolkError, SpawnBudgetExhausted
from .._spawn import SpawnCoordinator
from ..abc import Instrument, Router, Runtime
from .config import PoolConfig
from .core import Core
from .pool import WorkerPool
from .supervisor import supervise_all

__all__ = ["open_pool", "run_pool"]


@asynccontextmanager
async def open_pool(
    runtime: Runtime,
    *,
    slots: int | None = None,
    config: PoolConfig | None = None,
    coordinator: SpawnCoordinator | None = None,
    router: Router | None = None,
    name: str = "pool",
    instruments: Iterable[Instrument] = (),
) -> AsyncIterator[WorkerPool]:
    """A pool of supervised workers, for as long as the block lasts: ``async with open_pool(...) as pool``.

    The block begins when the first worker is ready. Left normally, the pool drains: running and waiting calls
    end, within ``drain_timeout``. Left by an exception or a cancellation, every worker is ended at once. Either
    way nothing is left afterwards: no process, no descriptor, no thread, no file.

    Args:
        runtime: how workers are made, e.g. ``PipeRuntime.python("myapp.jobs:worker")``.
        slots: how many; overrides ``config.slots``, as does a runtime that is made for so many and no others.
        config: the settings.
        coordinator: says when workers may be started, and bounds how many at once; shared, it does so for several
            pools, each with the budget of its own config.
        router: says which slot calls with a key belong to; `ConsistentHash` by default. It serves this pool only.
        name: begins the workers' ids, e.g. ``thumbs/3.12``.
        instruments: are told what happens, from the first attempt to get a worker on.

    Raises:
        BootFailed, BootTimeout: every slot's first attempt failed; the first slot's error.
        CrashLoop: attempt after attempt failed, until the budget was used up and no slot could serve.
        FolkError: supervision itself failed; its cause says of what.

    Entering and leaving are always checkpoints. Cancellation: every worker is taken down its ladder (EOF or
    SIGTERM, ``terminate_grace``, SIGKILL), which is shielded and bounded; then it goes on.
    """
    if not isinstance(runtime, Runtime):
        raise TypeError(
            f"open_pool takes a runtime, e.g. PipeRuntime.python('module:object'), not {runtime!r}"
        )
    if router is not None and not isinstance(router, Router):
        raise TypeError(f"router is a trio_folk.abc.Router, not {router!r}")
    core = Core(runtime, _settings(runtime, slots, config), coordinator, router, name)
    for instrument in instruments:
        core.instruments.add(instrument)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise_all, core, name=f"supervision of {name}")
        try:
            with core.body:
                pool = WorkerPool._of(core)
                await _wait_open(core)
                yield pool
                await pool.drain()
        except BaseException as raised:
            error = raised
        core.close()
        with trio.CancelScope(shield=True):  # bounded by the workers' ladders
            await core.closed.wait()
    if core.failure is not None:
        _raise_failure(core, core.failure, error)
    if error is not None:
        raise error


async def run_pool(
    runtime: Runtime,
    *,
    slots: int | None = None,
    config: PoolConfig | None = None,
    coordinator: SpawnCoordinator | None = None,
    router: Router | None = None,
    name: str = "pool",
    instruments: Iterable[Instrument] = (),
    task_status: trio.TaskStatus[WorkerPool] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A pool as a service: ``pool = await nursery.start(run_pool, runtime)``. It runs until it is cancelled.

    Raises:
        BootFailed, BootTimeout, CrashLoop, FolkError: as `open_pool`.

    Cancellation: every worker is ended at once; drain the pool before, where that matters.
    """
    about = partial(
        open_pool, config=config, coordinator=coordinator, router=router, name=name, instruments=instruments
    )
    async with about(runtime, slots=slots) as pool:
        task_status.started(pool)
        await trio.sleep_forever()


def _settings(runtime: Runtime, slots: int | None, config: PoolConfig | None) -> PoolConfig:
    """The config, with as many slots as are wanted.

    Raises:
        ValueError: the runtime is made for another number.
    """
    settings = config or PoolConfig()
    wanted = runtime.slots if slots is None else slots
    if runtime.slots is not None and wanted != runtime.slots:
        raise ValueError(f"{runtime!r} is made for {runtime.slots} slots, not {wanted}: leave `slots` out")
    return settings if wanted is None else attrs.evolve(settings, slots=wanted)


async def _wait_open(core: Core) -> None:
    await core.opened.wait()
    if not core.ready():
        failures = [slot.failure for slot in core.slots if slot.failure is not None]
        for failure in sorted(failures, key=lambda each: isinstance(each, SpawnBudgetExhausted)):
            raise failure  # the first slot's, unless that one was never tried


def _raise_failure(core: Core, cause: BaseException, error: BaseException | None) -> NoReturn:
    for leaf in _leaves(cause):
        if not isinstance(leaf, Exception) and not isinstance(leaf, trio.Cancelled):
            raise leaf  # KeyboardInterrupt and its like are nobody's defect
    failure = cause if isinstance(cause, CrashLoop) else _defect(core, cause)
    if error is None or isinstance(error, trio.Cancelled) or _leaves(error) == [failure]:
        raise failure
    raise BaseExceptionGroup(f"the pool {core.name!r} and its block both failed", [error, failure])


def _defect(core: Core, cause: BaseException) -> FolkError:
    failure = FolkError(
        f"supervision of the pool {core.name!r} failed: {_leaves(cause)[0]!r}",
        hint="a defect of the runtime, or of trio_folk: please report it with its cause",
    )
    failure.__cause__ = cause
    return failure


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]

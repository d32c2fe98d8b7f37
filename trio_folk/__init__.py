"""trio_folk: supervised worker processes for trio. Call them, cancel them, crash them; nothing is left behind.

    async with trio_folk.open_pool(trio_folk.PipeRuntime.python("myapp.jobs:worker"), slots=4) as pool:
        await pool.execute("shrink", {"path": "cat.png", "width": 64})

Every worker imports this package on its way to ``trio_folk.worker``, and must not pay for trio there: the
public names are imported when they are first asked for.

The rooms, lowest first: ``_errors``; ``abc`` and ``_wire``; ``worker`` (what runs in the child),
``_process`` and ``_spawn``; ``runtimes`` and ``broker``; ``_pool``; ``telemetry``, ``testing`` and ``_cli``. A room
imports only from rooms below it.
"""

from __future__ import annotations

from ._version import __version__

# Importing typing costs a worker ten milliseconds at birth; type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._errors import (
        AlreadyBound,
        AlreadyLocked,
        ApplicationError,
        BackendRefused,
        BindError,
        BindIOError,
        BootFailed,
        BootTimeout,
        CrashLoop,
        FolkError,
        FrameTooLarge,
        InvalidEndpoint,
        InvalidFrame,
        LockDeletedOrRecreated,
        LockFailed,
        LockIdentityError,
        LockOpenError,
        PoolClosed,
        ProtocolError,
        ReloadFailed,
        RemoteError,
        SpawnBudgetExhausted,
        SpawnError,
        SpawnInProgress,
        SpawnLockError,
        WorkerDied,
    )
    from ._pool import (
        ConsistentHash,
        EventStream,
        ExecTimeout,
        Lease,
        MapResults,
        PoolBusy,
        PoolConfig,
        PoolEvent,
        PoolStatistics,
        QueueTimeout,
        ReloadReport,
        SlotReload,
        SlotState,
        SlotStatistics,
        StreamItems,
        WorkerPool,
        open_pool,
        run_pool,
    )
    from ._spawn import (
        BudgetStatistics,
        SpawnBudget,
        SpawnCoordinator,
        SpawnLock,
        SpawnPermit,
        acquire_spawn_lock,
        open_spawn_coordinator,
        wait_spawn_lock,
    )
    from .runtimes import ForkRuntime, MixedRuntime, PipeRuntime, RayRuntime, TaskRuntime

__all__ = [
    # pools
    "open_pool",
    "run_pool",
    "WorkerPool",
    "PoolConfig",
    # what a pool gives
    "Lease",
    "MapResults",
    "StreamItems",
    "EventStream",
    "PoolEvent",
    "PoolStatistics",
    "SlotStatistics",
    "SlotState",
    "BudgetStatistics",
    "ReloadReport",
    "SlotReload",
    # runtimes
    "PipeRuntime",
    "ForkRuntime",
    "TaskRuntime",
    "RayRuntime",
    "MixedRuntime",
    # where keys belong
    "ConsistentHash",
    # births
    "SpawnBudget",
    "SpawnCoordinator",
    "SpawnPermit",
    "open_spawn_coordinator",
    "SpawnLock",
    "acquire_spawn_lock",
    "wait_spawn_lock",
    # errors
    "FolkError",
    "PoolBusy",
    "PoolClosed",
    "QueueTimeout",
    "ExecTimeout",
    "WorkerDied",
    "ApplicationError",
    "RemoteError",
    "SpawnError",
    "BootTimeout",
    "BootFailed",
    "SpawnInProgress",
    "SpawnBudgetExhausted",
    "CrashLoop",
    "ReloadFailed",
    "SpawnLockError",
    "LockOpenError",
    "AlreadyLocked",
    "LockFailed",
    "LockDeletedOrRecreated",
    "LockIdentityError",
    "BindError",
    "InvalidEndpoint",
    "AlreadyBound",
    "BindIOError",
    "BackendRefused",
    "ProtocolError",
    "FrameTooLarge",
    "InvalidFrame",
    "__version__",
]

_HOMES = {
    "_pool": "ConsistentHash open_pool run_pool WorkerPool PoolConfig PoolBusy QueueTimeout ExecTimeout "
    "Lease MapResults StreamItems EventStream PoolEvent PoolStatistics SlotStatistics SlotState ReloadReport "
    "SlotReload",
    "runtimes": "PipeRuntime ForkRuntime TaskRuntime RayRuntime MixedRuntime",
    "_spawn": "BudgetStatistics SpawnBudget SpawnCoordinator SpawnPermit open_spawn_coordinator SpawnLock "
    "acquire_spawn_lock "
    "wait_spawn_lock",
    "_errors": "FolkError PoolClosed WorkerDied ApplicationError RemoteError SpawnError BootTimeout BootFailed "
    "SpawnInProgress SpawnBudgetExhausted CrashLoop SpawnLockError LockOpenError AlreadyLocked LockFailed "
    "LockDeletedOrRecreated LockIdentityError BindError InvalidEndpoint AlreadyBound BindIOError BackendRefused "
    "ProtocolError ReloadFailed FrameTooLarge InvalidFrame",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        # With name and obj the interpreter adds its own "Did you mean".
        import sys

        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    value = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

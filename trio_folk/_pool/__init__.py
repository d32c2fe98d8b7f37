"""The pool: slots, dispatch, recycling, statistics.

It sees worker handles, never a byte or a pid, and does not know which runtime makes them.
"""

from __future__ import annotations

from .config import PoolConfig as PoolConfig
from .errors import ExecTimeout as ExecTimeout
from .errors import PoolBusy as PoolBusy
from .errors import QueueTimeout as QueueTimeout
from .events import EventStream as EventStream
from .events import PoolEvent as PoolEvent
from .hashing import ConsistentHash as ConsistentHash
from .lease import Lease as Lease
from .mapping import MapResults as MapResults
from .opening import open_pool as open_pool
from .opening import run_pool as run_pool
from .pool import WorkerPool as WorkerPool
from .reports import ReloadReport as ReloadReport
from .reports import SlotReload as SlotReload
from .states import SlotState as SlotState
from .statistics import PoolStatistics as PoolStatistics
from .statistics import SlotStatistics as SlotStatistics
from .stream import StreamItems as StreamItems

__all__ = [
    "ConsistentHash",
    "EventStream",
    "ExecTimeout",
    "Lease",
    "MapResults",
    "PoolBusy",
    "PoolConfig",
    "PoolEvent",
    "PoolStatistics",
    "QueueTimeout",
    "ReloadReport",
    "SlotReload",
    "SlotState",
    "SlotStatistics",
    "StreamItems",
    "WorkerPool",
    "open_pool",
    "run_pool",
]

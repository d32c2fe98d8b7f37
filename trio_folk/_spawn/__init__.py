"""May a process be started now? A budget of attempts, one attempt at a time, and a lock file between programs.

Everything that restarts things spins one day. Here is the brake, and it only says yes or no: it never launches.

Knows attempts, keys and a lock file. Does not know workers, pools, or what is started.
Picture: docs/design/spawn.md
"""

from __future__ import annotations

from .budget import BudgetLog as BudgetLog
from .budget import SpawnBudget as SpawnBudget
from .coordinator import SpawnCoordinator as SpawnCoordinator
from .holder import boot_id as boot_id
from .holder import process_started as process_started
from .joining import JoiningCoordinator as JoiningCoordinator
from .joining import open_spawn_coordinator as open_spawn_coordinator
from .lock import SpawnLock as SpawnLock
from .lock import acquire_spawn_lock as acquire_spawn_lock
from .lock import wait_spawn_lock as wait_spawn_lock
from .permit import SpawnPermit as SpawnPermit
from .statistics import BudgetStatistics as BudgetStatistics
from .statistics import SpawnStatistics as SpawnStatistics

__all__ = [
    "BudgetLog",
    "BudgetStatistics",
    "JoiningCoordinator",
    "SpawnBudget",
    "SpawnCoordinator",
    "SpawnLock",
    "SpawnPermit",
    "SpawnStatistics",
    "acquire_spawn_lock",
    "boot_id",
    "open_spawn_coordinator",
    "process_started",
    "wait_spawn_lock",
]

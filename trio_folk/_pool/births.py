"""Births: one worker, from its name to the moment when it is ready, under one clock.

Launch and readiness share the boot timeout: a program that starts quickly and then hangs in an import has
not started. Whoever wants a worker calls this, slot supervisors and reloads alike; leave to do so is not asked here.

Knows a runtime's interface. Does not know slots' states, nor budgets.
"""

from __future__ import annotations

import trio

from .._errors import BootTimeout
from ..abc import Birth, Rung, WorkerHandle, WorkerId
from .core import Core
from .events import PoolEvent
from .incarnation import Slot

__all__ = ["conceive", "spawn"]


def conceive(core: Core, slot: Slot, generation: int) -> Birth:
    """The next worker's identity in this slot."""
    slot.born += 1
    core.counts.spawned += 1
    birth = Birth(WorkerId(core.name, slot.number, slot.born), generation, core.ladder)
    core.tell("spawning", str(birth.id))
    return birth


async def spawn(core: Core, birth: Birth) -> WorkerHandle:
    """A worker that is ready: launch and readiness under one clock."""
    assert core.lives is not None
    handle: WorkerHandle | None = None
    worker: WorkerHandle
    seconds = core.config.boot_timeout
    with trio.move_on_after(seconds):
        handle = worker = await core.lives.start(core.runtime.spawn, birth)
        core.lives.start_soon(_tell_end, core, worker)
        try:
            await worker.ready()
        except BaseException as error:
            worker.terminate(f"its boot was given up: {error}", Rung.TERMINATE)
            raise
        return worker
    late = BootTimeout(
        f"the worker was not ready within {seconds:g} s",
        worker=str(birth.id),
        stage="boot" if handle else "launch",
        generation=birth.generation,
        hint="see what its start waits for, or raise boot_timeout",
    )
    if handle is not None:
        late.pid, late.stderr = handle.pid, handle.stderr
        handle.terminate(late.message, Rung.TERMINATE)
    raise late


@trio.lowlevel.enable_ki_protection
async def _tell_end(core: Core, handle: WorkerHandle) -> None:
    with trio.CancelScope(shield=True):  # bounded by the worker's ladder
        await handle.ended.wait()
    about = (str(handle.id), handle.reason, handle.exit, handle.stages, handle.planned)
    core.note(PoolEvent("ended", trio.current_time(), *about))

"""The Ray runtime: one actor is one worker, on whatever node of a cluster has room for it.

Knows how a birth becomes an actor. Does not retry, and does not count.
Picture: docs/design/ray.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import trio

from .._errors import BootFailed
from .._wire import MAX_FRAME
from ..abc import Birth, Traits, WorkerHandle
from . import _ray_api as api
from ._buffers import MAX_SHARED, Sharing, Transfer
from ._ray_bridge import current_bridge
from ._ray_code import Code
from ._ray_connection import Connection
from ._ray_handle import RayWorker
from ._ray_life import RayClocks, live
from ._ray_place import Places, Wish, explain
from ._wired import WireRuntime

__all__ = ["RayRuntime"]

LOOK_BOUND = 10.0
"""Seconds for Ray to say which nodes it has, when a worker got none of them."""


class RayRuntime(WireRuntime):
    """Workers as actors of Ray, on one machine or on many: docs/ray.md.

    A worker runs one call at a time, of synchronous methods or of functions (`run_sync`, `map`). It has no pid here,
    and no descriptors of ours: `WorkerHandle.pid` is None, and what is large travels through Ray's object store.

    Args:
        target: ``"module:object"``, a `trio_folk.worker.Worker`; without one the workers run functions only.
        address: of the cluster, ``"host:port"`` or ``"auto"``; else that in ``RAY_ADDRESS``; else a Ray of its own is
            started on this machine, and ended with the last pool that uses it.
        code: modules and packages, as files and folders, that are shipped to the workers: each `reload` ships them
            anew. What is not shipped must be installed on the nodes, ``trio_folk`` first of all.
        cpus: what each worker takes of a node, as Ray counts; 0 for as many workers as you like.
        gpus: the same.
        memory_mb: the same, in MiB.
        resources: the same, of resources by their names.
        placement: ``"pack"`` fills a node before the next, ``"spread"`` takes another node each time.
        node: the one node to be on, by its id or IP address.
        ready_timeout: seconds for a worker to be placed and to boot; keep it below the pool's ``boot_timeout``, for
            then the error says what was asked for and what there is.
        heartbeat: seconds after which a worker that does not answer counts as lost with its node. A call that holds
            the interpreter's lock for longer looks the same: choose more than the longest of those; inf for none.
        env: variables of the workers' environment.
        transfer: as what large buffers arrive; see `PipeRuntime.python`.
        max_shared: bytes of large buffers of one call's arguments.
        max_frame: the longest message either way, in bytes.
        init: options of ``ray.init``, for what is not named here.

    Raises:
        ImportError: Ray is not installed.
        ValueError, TypeError: such workers make no sense.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        address: str | None = None,
        code: Sequence[str | os.PathLike[str]] = (),
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_mb: float = 0.0,
        resources: Mapping[str, float] | None = None,
        placement: Literal["pack", "spread"] = "pack",
        node: str | None = None,
        ready_timeout: float = 20.0,
        heartbeat: float = 10.0,
        env: Mapping[str, str] | None = None,
        transfer: Transfer = "auto",
        max_shared: int = MAX_SHARED,
        max_frame: int = MAX_FRAME,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        api.require()
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"{address!r} is Ray's client: run the program on a node, with the address of its head"
            )
        if isinstance(code, str | bytes):
            raise TypeError(f"code is a list of files and folders, not {code!r}: use [{code!r}]")
        for name, seconds in (("ready_timeout", ready_timeout), ("heartbeat", heartbeat)):
            if not seconds > 0:
                raise ValueError(f"{name} is in seconds, and more than 0: {seconds!r}")
        self._target = target
        self._address = address
        self._connection = Connection(address, dict(init or {}))
        self._users = 0
        self._code = Code(code)
        self._env = dict(env or {})
        self._wish = Wish(cpus, gpus, memory_mb, resources or {}, placement, node)
        self._clocks = RayClocks(ready_timeout, heartbeat)
        self._sharing = Sharing.of(transfer, max_shared)
        self._transfer = transfer
        self._max_frame = max_frame
        self._places = Places()
        self.traits: Traits = Traits(processes=False, python=True, keeps_generations=bool(self._code.paths))

    def __repr__(self) -> str:
        where = f" at {self._address}" if self._address else ""
        return f"<RayRuntime {self._target or 'of functions'}{where}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection to Ray, once there is one, for as long as a pool needs it.

        Cancellation: the connection is left, and a Ray that was started here is ended, unless another pool uses it.
        """
        self._users += 1
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._users -= 1
            if not self._users:
                await self._connection.leave()

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        worker: RayWorker | None = None
        try:
            await self._connection.wait()
            bridge = current_bridge()
            actor = await _launched(partial(self._launch, birth.generation))
            worker = RayWorker(birth, actor, bridge, self._max_frame, self._places.avoid)
            task_status.started(worker)
            await live(worker, actor, bridge, birth.ladder, self._clocks, self._explain)
        except BootFailed as error:
            error.worker, error.generation = str(birth.id), birth.generation
            raise
        finally:
            if worker is not None:
                worker.note_end()

    def forget(self, generation: int) -> None:
        self._code.forget(generation)

    @property
    def _elsewhere(self) -> bool:
        return True

    def _launch(self, generation: int) -> api.RayActor:
        """In a thread: pack and ship the code if this is the first worker that has it, and ask for an actor."""
        options = self._wish.options(self._places.avoided())
        folder = ""
        surroundings: dict[str, Any] = {"env_vars": self._env} if self._env else {}
        package = self._code.of(generation)
        if package is not None:
            uri, folder = api.ship(package)
            surroundings["py_modules"] = [uri]
        if surroundings:
            options["runtime_env"] = surroundings
        path = [each for each in sys.path if each]
        return api.launch(options, self._target, self._max_frame, self._transfer, path, folder)

    async def _explain(self, seconds: float) -> BootFailed:
        look = partial(explain, self._wish, self._places.avoided(), seconds)
        with trio.move_on_after(LOOK_BOUND):
            return await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        return BootFailed(
            f"a worker was not ready within {seconds:g} s, and Ray does not say why", stage="boot"
        )


async def _launched(launch: Callable[[], api.RayActor]) -> api.RayActor:
    """What `launch` makes in its thread; if nobody waits for it any more, it is killed as soon as it is there."""
    given_up = False

    def ask() -> api.RayActor:
        actor = launch()
        if given_up:
            actor.kill()
        return actor

    try:
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
    except BaseException:
        given_up = True
        raise

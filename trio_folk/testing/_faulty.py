"""The faulty runtime: workers that follow a script, as tasks of this process, over the same wire.

What a pool does when its workers misbehave is the half that ordinary tests never see. Here a worker dies at
its third call, or never becomes ready, or answers too late, each time alike and in trio's time: an hour of
backoff passes in a moment under a mocked clock.

Knows the task runtime. Does not know pools, nor how a script is played.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

import trio

from .._errors import BootFailed
from .._wire import MAX_FRAME
from ..abc import Birth, Rung, Traits, WorkerExit, WorkerHandle
from ..runtimes import TaskRuntime
from ..runtimes._sockets import Sockets
from ..runtimes._task import TaskBody
from ._actor import Actor, FaultyCall
from ._script import Script

__all__ = ["FaultyRuntime"]

_SIGNALS = {Rung.TERMINATE: signal.SIGTERM, Rung.KILL: signal.SIGKILL}


class FaultyRuntime(TaskRuntime):
    """Workers that misbehave by script: ``FaultyRuntime([Script(boot="dies"), Script(at_call={3: ...})])``.

    Every method answers its parameters, but ``sleep``, which takes as many seconds as it is given before.
    Functions (`run_sync`, `map`) are run inline. Nothing can interrupt those; whatever else can.

    Args:
        scripts: the first worker's script, the second's, and so on, in the order of their births; or a
            function that is given a `Birth` and returns the script.
        then: the script of all workers after those.
        recyclable: whether its workers may be replaced while they are healthy.
        max_frame: the longest message either way, in bytes.

    Attributes:
        births: every birth that was asked for, in order.
        calls: every call that reached a worker, in order.
        alive: how many of its workers there are now; those that are just ending count.
    """

    def __init__(
        self,
        scripts: Iterable[Script] | Callable[[Birth], Script] = (),
        *,
        then: Script | None = None,
        recyclable: bool = True,
        max_frame: int = MAX_FRAME,
    ) -> None:
        super().__init__(max_frame=max_frame)
        self.traits: Traits = Traits(processes=False, interruptible=True, recyclable=recyclable, python=True)
        self.births: list[Birth] = []
        self.calls: list[FaultyCall] = []
        self.alive: int = 0
        self._then = then if then is not None else Script()
        self._script_for = scripts if callable(scripts) else self._in_turn(scripts)

    def __repr__(self) -> str:
        return f"<FaultyRuntime: {self.spawned} born, {self.alive} alive, {len(self.calls)} calls>"

    @property
    def spawned(self) -> int:
        """How many births were asked for."""
        return len(self.births)

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.births.append(birth)
        script = self._script_for(birth)
        if script.boot == "launch_fails":
            await trio.sleep(script.boot_delay)
            raise BootFailed(
                "the script says that it cannot be launched",
                worker=str(birth.id),
                generation=birth.generation,
                stage="launch",
            )

        async def play(birth: Birth, sockets: Sockets) -> WorkerExit:
            return await Actor(str(birth.id), script, sockets, self._max_frame, self.calls).play()

        self.alive += 1
        try:
            await self._live(birth, _DeafBody(script.ignores), play, task_status)
        finally:
            self.alive -= 1

    def _in_turn(self, scripts: Iterable[Script]) -> Callable[[Birth], Script]:
        coming = iter(tuple(scripts))
        return lambda birth: next(coming, self._then)


class _DeafBody(TaskBody):
    """A body that does not heed every signal."""

    def __init__(self, ignores: frozenset[Rung]) -> None:
        super().__init__()
        self._ignores = {_SIGNALS[rung] for rung in ignores & _SIGNALS.keys()}

    def signal_group(self, sig: int) -> None:
        if sig not in self._ignores:
            super().signal_group(sig)

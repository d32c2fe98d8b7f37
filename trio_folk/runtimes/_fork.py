"""The fork runtime: a zygote imports once, and forks each worker in a millisecond.

Knows how a command line becomes a zygote, and which zygote is to fork. Does not retry, and does not count.
Picture: docs/design/fork.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import trio

from .._errors import SpawnError
from .._process import Output, open_guardian
from .._wire import MAX_FRAME
from ..abc import Birth, Traits, WorkerHandle
from ._buffers import MAX_SHARED, Sharing, Transfer
from ._handle import SocketWorker
from ._interpreter import python_argv
from ._life import live
from ._program import Program
from ._sockets import Sockets
from ._streams import Streams
from ._wired import WireRuntime
from ._zygote import Retired, Zygote

__all__ = ["ForkRuntime"]


class ForkRuntime(WireRuntime):
    """Workers forked from a process that has imported their code: born in a millisecond, sharing its memory.

    One such process, a zygote, serves each generation of the pool: a reload starts a new one, which reads the
    code anew, and keeps the old until the new has proved itself. Linux only, 5.3 and later.

    A fork copies only the thread that forks. What is imported must not start threads, nor open what cannot be
    shared, such as a connection; that belongs into the workers' methods.

    Args:
        target: ``"module:object"``, a `trio_folk.worker.Worker`; without one the workers run functions only.
        preload: modules that are imported before.
        executable: the interpreter; this one by default.
        env: variables added to the parent's environment.
        cwd: the directory to start in; the parent's by default.
        max_frame: the longest message either way, in bytes.
        forks_per_zygote: after so many forks a new zygote takes over, which reads the code anew.
        allow_threads: fork although the zygote has several threads; known to be harmless by who says so.
        boot_timeout: seconds that a zygote has for its imports.
        transfer: as what large buffers arrive: ``"auto"``, ``"view"`` or ``"copy"``; see `PipeRuntime.python`.
        max_shared: bytes of shared memory for each worker and direction; 0 means that there is none.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        preload: Iterable[str] = (),
        executable: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        forks_per_zygote: int = 1000,
        allow_threads: bool = False,
        boot_timeout: float = 30,
        transfer: Transfer = "auto",
        max_shared: int = MAX_SHARED,
    ) -> None:
        self._sharing = Sharing.of(transfer, max_shared)
        program = Program(
            runtime="fork",
            argv=tuple(python_argv(executable or sys.executable, target)),
            env={
                **(env or {}),
                "FOLK_PRELOAD": ",".join(_modules(preload)),
                "FOLK_ALLOW_THREADS": "1" if allow_threads else "",
            },
            cwd=cwd,
            max_frame=max_frame,
            python=True,
            sharing=self._sharing,
        )
        self._set_up(program, forks_per_zygote, boot_timeout)
        self.traits: Traits = Traits(python=True, keeps_generations=True)

    @classmethod
    def php(
        cls,
        script: str | os.PathLike[str],
        *,
        php: str = "php",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        forks_per_zygote: int = 1000,
        boot_timeout: float = 30,
    ) -> ForkRuntime:
        """PHP workers of a fork master: a script of Folk's SDK, or one written against the protocol page.

        What they print is logged as the master's. How they ended is known on Linux 6.15 and later.
        """
        argv = (php, os.fspath(script))
        program = Program(runtime="fork", argv=argv, env=dict(env or {}), cwd=cwd, max_frame=max_frame)
        runtime = cls.__new__(cls)
        runtime._set_up(program, forks_per_zygote, boot_timeout)
        runtime.traits = Traits(keeps_generations=True)
        return runtime

    def _set_up(self, program: Program, forks_per_zygote: int, boot_timeout: float) -> None:
        if not hasattr(os, "pidfd_open"):
            raise RuntimeError("ForkRuntime needs pidfd_open(2), of Linux 5.3: use PipeRuntime here")
        if forks_per_zygote < 1:
            raise ValueError(f"forks_per_zygote is at least 1: {forks_per_zygote}")
        if not boot_timeout > 0:
            raise ValueError(f"boot_timeout is more than 0 seconds: {boot_timeout}")
        self._program = program
        self._max_frame = program.max_frame
        self._forks_per_zygote = forks_per_zygote
        self._boot_timeout = boot_timeout
        self._zygotes: dict[int, Zygote] = {}  # by generation: those that fork
        self._homes: list[trio.Nursery] = []
        self._born = 0

    def __repr__(self) -> str:
        return f"<ForkRuntime {self._program}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The zygotes' home: nothing can be forked while this does not run.

        Cancellation: the zygotes are ended; workers have a second to end before them.
        """
        async with open_guardian(), trio.open_nursery() as home:
            self._homes.append(home)
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._homes.remove(home)

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            while True:
                await (
                    trio.lowlevel.checkpoint_if_cancelled()
                )  # cancelled together with `run`: that is no mistake
                zygote = self._zygote_of(birth)
                try:
                    with zygote.claim():
                        await zygote.ready()
                        await self._live(zygote, birth, task_status)
                        return
                except Retired:
                    continue  # before it was asked
        except SpawnError as error:
            error.worker, error.generation = str(birth.id), birth.generation
            raise

    def forget(self, generation: int) -> None:
        """Fork no more workers of the other generations so far; their zygotes end with their last workers."""
        for each in [each for each in self._zygotes if each != generation]:
            self._zygotes.pop(each).retire("other code has proved itself")

    def _zygote_of(self, birth: Birth) -> Zygote:
        """The zygote of a generation; a new one if there is none that forks."""
        zygote = self._zygotes.get(birth.generation)
        if zygote is None or zygote.retired is not None:
            if not self._homes:
                raise RuntimeError(
                    f"{self!r} forks only while its run() runs: await nursery.start(runtime.run)"
                )
            self._born += 1
            zygote = self._zygotes[birth.generation] = Zygote(
                self._program,
                f"{birth.id.pool}/zygote.{self._born}",
                most_forks=self._forks_per_zygote,
                boot_timeout=self._boot_timeout,
            )
            self._homes[-1].start_soon(zygote.run, name=f"zygote of {birth.id.pool}")
        return zygote

    async def _live(self, zygote: Zygote, birth: Birth, task_status: trio.TaskStatus[WorkerHandle]) -> None:
        worker: SocketWorker | None = None
        try:
            with ExitStack() as stack:
                sockets = stack.enter_context(Sockets())
                given = [sockets.child_task.fileno(), sockets.child_control.fileno()]
                streams = None
                if "fork-output" in zygote.features:
                    streams = stack.enter_context(Streams())
                    given += streams.writers
                async with zygote.forked(given) as process:
                    sockets.close_child_ends()
                    worker = SocketWorker(birth, sockets, self._max_frame, process.pid, self._sharing)
                    drains = []
                    if streams is None:
                        worker.output = zygote.output
                    else:
                        streams.close_child_ends()
                        worker.output = output = Output(str(birth.id))
                        stdout, stderr = streams.readers
                        drains = [partial(output.drain_stdout, stdout), partial(output.drain_stderr, stderr)]
                    task_status.started(worker)
                    await live(worker, process, birth.ladder, drains)
        finally:
            if worker is not None:
                worker.note_end()


def _modules(preload: Iterable[str]) -> tuple[str, ...]:
    """The modules to preload.

    Raises:
        TypeError, ValueError: they are not written as they should be.
    """
    if isinstance(preload, str):
        raise TypeError(f"preload is a list of modules, not one string: use [{preload!r}]")
    modules = tuple(preload)
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"preload names modules, e.g. 'numpy.random', not {module!r}")
    return modules

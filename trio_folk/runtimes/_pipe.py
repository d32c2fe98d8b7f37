"""The pipe runtime: one process a worker, with its two channels on descriptors 3 and 4.

Knows how a command line becomes a live worker. Does not retry, and does not count.
Picture: docs/design/runtimes.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias, get_args

import attrs
import trio

from .._errors import BootFailed
from .._process import Output, Process, open_guardian, open_process, worker_of
from .._wire import MAX_FRAME
from ..abc import Birth, Traits, WorkerHandle
from ._buffers import MAX_SHARED, Sharing, Transfer
from ._handle import SocketWorker
from ._interpreter import python_argv
from ._life import live
from ._program import Program
from ._sockets import Sockets
from ._wired import WireRuntime

__all__ = ["PipeRuntime"]

Isolation: TypeAlias = Literal["group", "pidns"]


class PipeRuntime(WireRuntime):
    """Workers as processes of any program that speaks the protocol: docs/protocol.md.

    Use `python` for workers written with ``trio_folk.worker`` and `php` for Folk's; anything else by its
    command line.

    Args:
        argv: the program and its arguments; the program is looked up on PATH.
        env: variables added to the parent's environment, or all of them with ``replace_env``.
        cwd: the directory to start in; the parent's by default.
        max_frame: the longest message either way, in bytes; 16 MiB as in Folk.
        isolation: what ends with a worker: its process ``"group"``; or with ``"pidns"`` whatever it has started, for it
            runs in a pid namespace of its own, where the system allows that. Then `WorkerHandle.pid` is that of a
            process which stands before it, and the worker itself sees other numbers: docs/orphans.md.

    Raises:
        TypeError, ValueError: such workers cannot be launched, or make no sense.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        *,
        env: Mapping[str, str] | None = None,
        replace_env: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        isolation: Isolation = "group",
    ) -> None:
        if isinstance(argv, str | bytes):
            raise TypeError(
                f"argv is a list of the program and its arguments, not {argv!r}: use [{argv!r}] or shlex.split"
            )
        if isolation not in get_args(Isolation):
            raise ValueError(f"isolation is 'group' or 'pidns', not {isolation!r}")
        self._program = Program(
            runtime="pipe",
            argv=tuple(argv),
            env=dict(env or {}),
            replace_env=replace_env,
            cwd=cwd,
            max_frame=max_frame,
            pid_namespace=isolation == "pidns",
        )
        self._max_frame = max_frame
        self.traits: Traits = Traits()

    @classmethod
    def python(
        cls,
        target: str | None = None,
        *,
        executable: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        isolation: Isolation = "group",
        transfer: Transfer = "auto",
        max_shared: int = MAX_SHARED,
    ) -> PipeRuntime:
        """Python workers, which inherit ``sys.path``, the environment, and the -X and -W options.

        Args:
            target: ``"module:object"``, a `trio_folk.worker.Worker`; without one the workers run functions
                (`run_sync`, `map`) only.
            executable: the interpreter; this one by default.
            transfer: as what large buffers (256 KiB and more) of arguments and results arrive, which travel in shared
                memory: with ``"auto"`` what pickle hands out by itself, such as numpy's arrays, as read-only views and
                large ``bytes`` as themselves, by a copy; with ``"view"`` those as read-only memoryviews, too; with
                ``"copy"`` everything as private copies that may be changed: docs/large-data.md.
            max_shared: bytes of shared memory for each worker and direction; 0 means that there is none.

        Raises:
            TypeError, ValueError: such workers cannot be launched, or make no sense.
        """
        sharing = Sharing.of(transfer, max_shared)
        runtime = cls(
            python_argv(executable or sys.executable, target),
            env=env,
            cwd=cwd,
            max_frame=max_frame,
            isolation=isolation,
        )
        runtime._program = attrs.evolve(runtime._program, python=True, sharing=sharing)
        runtime._sharing = sharing
        runtime.traits = Traits(python=True)
        return runtime

    @classmethod
    def php(
        cls,
        script: str | os.PathLike[str],
        *,
        php: str = "php",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        isolation: Isolation = "group",
    ) -> PipeRuntime:
        """PHP workers: a script of Folk's SDK, or one written against the protocol page."""
        return cls([php, os.fspath(script)], env=env, cwd=cwd, max_frame=max_frame, isolation=isolation)

    def __repr__(self) -> str:
        return f"<PipeRuntime {self._program}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the guardian, which ends the workers and their groups should this program be SIGKILLed.

        Cancellation: the guardian is ended, unless another runtime's workers need it.
        """
        async with open_guardian():
            task_status.started()
            await trio.sleep_forever()

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        worker: SocketWorker | None = None
        try:
            with Sockets() as sockets:
                async with open_process(self._program.spec(sockets)) as process:
                    sockets.close_child_ends()
                    worker = SocketWorker(birth, sockets, self._max_frame, process.pid, self._sharing)
                    worker.inner = worker_of if self._program.pid_namespace else None
                    await self._raise(worker, process, birth, task_status)
        except BootFailed as error:
            error.worker, error.generation = str(birth.id), birth.generation
            raise
        finally:
            if worker is not None:
                worker.note_end()

    async def _raise(
        self, worker: SocketWorker, process: Process, birth: Birth, task_status: trio.TaskStatus[WorkerHandle]
    ) -> None:
        output = Output(str(birth.id))
        worker.output = output
        task_status.started(worker)
        drains = [
            partial(output.drain_stdout, process.stdout_fd),
            partial(output.drain_stderr, process.stderr_fd),
        ]
        await live(worker, process, birth.ladder, drains)

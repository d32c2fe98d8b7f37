"""The pipe runtime: one process a worker, with its two channels on descriptors 3 and 4.

Knows how a command line becomes a live worker. Does not retry, and does not count.
Picture: docs/design/runtimes.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from .._errors import BootFailed
from .._process import Output, Process, ProcessSpec, open_process
from .._wire import MAX_FRAME
from ..abc import Birth, Runtime, Traits, WorkerHandle
from ._handle import SocketWorker
from ._interpreter import python_argv, python_env
from ._jobs import MethodJob
from ._life import live
from ._python import PythonJob
from ._sockets import Sockets

__all__ = ["PipeRuntime"]

TASK_FD = 3
CONTROL_FD = 4


class PipeRuntime(Runtime):
    """Workers as processes of any program that speaks the protocol: docs/protocol.md.

    Use `python` for workers written with ``trio_folk.worker`` and `php` for Folk's; anything else by its
    command line.

    Args:
        argv: the program and its arguments; the program is looked up on PATH.
        env: variables added to the parent's environment, or all of them with ``replace_env``.
        cwd: the directory to start in; the parent's by default.
        max_frame: the longest message either way, in bytes; 16 MiB as in Folk.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        *,
        env: Mapping[str, str] | None = None,
        replace_env: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
    ) -> None:
        if isinstance(argv, str | bytes):
            raise TypeError(
                f"argv is a list of the program and its arguments, not {argv!r}: use [{argv!r}] or shlex.split"
            )
        if max_frame < 1024:
            raise ValueError(f"max_frame is in bytes, and at least 1024: {max_frame}")
        self._argv = tuple(argv)
        self._env = dict(env or {})
        self._replace_env = replace_env
        self._cwd = cwd
        self._max_frame = max_frame
        self._python = False
        self.traits: Traits = Traits()
        self._spec({})  # a command line that makes no sense is refused here, not at the first boot

    @classmethod
    def python(
        cls,
        target: str | None = None,
        *,
        executable: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
    ) -> PipeRuntime:
        """Python workers, which inherit ``sys.path``, the environment, and the -X and -W options.

        Args:
            target: ``"module:object"``, a `trio_folk.worker.Worker`; without one the workers run functions
                (`run_sync`, `map`) only.
            executable: the interpreter; this one by default.
        """
        if target is not None and (
            not isinstance(target, str) or target.count(":") != 1 or not all(target.split(":"))
        ):
            raise ValueError(f"a target is written 'module:object', e.g. 'myapp.jobs:worker', not {target!r}")
        runtime = cls(
            python_argv(executable or sys.executable, target), env=env, cwd=cwd, max_frame=max_frame
        )
        runtime._python = True
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
    ) -> PipeRuntime:
        """PHP workers: a script of Folk's SDK, or one written against the protocol page."""
        return cls([php, os.fspath(script)], env=env, cwd=cwd, max_frame=max_frame)

    def __repr__(self) -> str:
        words = [os.fsdecode(word) for word in self._argv]
        return f"<PipeRuntime {' '.join(words)}>"

    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        worker: SocketWorker | None = None
        try:
            with Sockets() as sockets:
                fds = {TASK_FD: sockets.child_task.fileno(), CONTROL_FD: sockets.child_control.fileno()}
                async with open_process(self._spec(fds)) as process:
                    sockets.close_child_ends()
                    worker = SocketWorker(birth, sockets, self._max_frame, process.pid)
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

    def _spec(self, fds: Mapping[int, int]) -> ProcessSpec:
        env = {
            "FOLK_RUNTIME": "pipe",
            "FOLK_TASK_FD": str(TASK_FD),
            "FOLK_CONTROL_FD": str(CONTROL_FD),
            **self._env,
        }
        if self._max_frame != MAX_FRAME:
            env["FOLK_MAX_FRAME"] = str(self._max_frame)
        if self._python:
            env.update(python_env(self._env))
        return ProcessSpec(argv=self._argv, env=env, replace_env=self._replace_env, cwd=self._cwd, fds=fds)

    def prepare(self, method: str, params: object) -> MethodJob:
        return MethodJob(method, params, self._max_frame)

    def prepare_python(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> PythonJob:
        if not self.traits.python:
            raise TypeError(
                f"the workers of {self!r} do not run Python functions: call a named method with execute(), "
                "or use PipeRuntime.python()"
            )
        return PythonJob(fn, args, kwargs, self._max_frame)

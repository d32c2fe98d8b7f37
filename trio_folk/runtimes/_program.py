"""A program that speaks the wire: its command line, and what its environment tells it of its two channels.

Knows Folk's variables. Does not know whether the program is a worker, or forks them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from .._process import ProcessSpec
from .._wire import MAX_FRAME
from ._buffers import Sharing
from ._interpreter import python_env
from ._sockets import Sockets

__all__ = ["Program"]

_TASK_FD, _CONTROL_FD = 3, 4


@attrs.frozen(kw_only=True)
class Program:
    """What a runtime launches, each time with two channels of its own.

    Attributes:
        runtime: which of Folk's runtimes it is to serve: ``"pipe"`` or ``"fork"``.
        argv: the program and its arguments.
        env: variables added to the parent's environment, or all of them with ``replace_env``.
        replace_env: nothing of the parent's environment is inherited.
        cwd: the directory to start in; the parent's by default.
        max_frame: the longest message either way, in bytes.
        python: it is a Python program of ours, and gets ``sys.path`` as it is at each launch.
        pid_namespace: it runs in one of its own.
        sharing: how its workers share large buffers with the parent; None where they do not.

    Raises:
        TypeError, ValueError: such a program cannot be launched, or makes no sense.
    """

    runtime: str
    argv: tuple[str | bytes, ...]
    env: Mapping[str, str]
    replace_env: bool = False
    cwd: str | os.PathLike[str] | None = None
    max_frame: int = MAX_FRAME
    python: bool = False
    pid_namespace: bool = False
    sharing: Sharing | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_frame < 1024:
            raise ValueError(f"max_frame is in bytes, and at least 1024: {self.max_frame}")
        self._spec({})  # a command line that makes no sense is refused here, not at the first boot

    def __str__(self) -> str:
        return " ".join(os.fsdecode(word) for word in self.argv)

    def spec(self, sockets: Sockets) -> ProcessSpec:
        """What is launched with the child's ends of these."""
        return self._spec(
            {_TASK_FD: sockets.child_task.fileno(), _CONTROL_FD: sockets.child_control.fileno()}
        )

    def _spec(self, fds: Mapping[int, int]) -> ProcessSpec:
        env: dict[str, Any] = {
            "FOLK_RUNTIME": self.runtime,
            "FOLK_TASK_FD": str(_TASK_FD),
            "FOLK_CONTROL_FD": str(_CONTROL_FD),
            **self.env,
        }
        if self.max_frame != MAX_FRAME:
            env["FOLK_MAX_FRAME"] = str(self.max_frame)
        if self.sharing is not None:
            env["FOLK_TRANSFER"] = self.sharing.transfer
            env["FOLK_MAX_SHARED"] = str(self.sharing.most)
        if self.python:
            env.update(python_env(self.env))
        return ProcessSpec(
            argv=self.argv,
            env=env,
            replace_env=self.replace_env,
            cwd=self.cwd,
            fds=fds,
            pid_namespace=self.pid_namespace,
        )

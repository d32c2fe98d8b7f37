"""A launch in the kernel's own terms: bytes only, taken at one moment, and the program's path found.

The environment of a running program changes; a launch that reads it from another thread may see half a
change. So the event loop takes the snapshot, and the thread works from that.

Knows bytes and PATH. Does not know how a process is made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

import attrs

from .spec import ProcessSpec

__all__ = ["Plan", "find_program", "path_of"]


@attrs.frozen(kw_only=True)
class Plan:
    """One launch, decided: nothing in it changes any more."""

    argv: tuple[bytes, ...]
    env: Mapping[bytes, bytes]
    cwd: bytes | None
    fds: Mapping[int, int]
    pid_namespace: bool = False

    @classmethod
    def of(cls, spec: ProcessSpec) -> Plan:
        """What this spec means now."""
        env = {} if spec.replace_env else dict(os.environb)
        env.update((os.fsencode(name), os.fsencode(value)) for name, value in spec.env.items())
        return cls(
            argv=tuple(os.fsencode(word) for word in spec.argv),
            env=env,
            cwd=None if spec.cwd is None else os.fsencode(spec.cwd),
            fds=dict(spec.fds),
            pid_namespace=spec.pid_namespace,
        )

    @property
    def environment(self) -> list[bytes]:
        """The environment as execve(2) takes it."""
        return [name + b"=" + value for name, value in self.env.items()]

    def seen_from_here(self, path: bytes) -> bytes:
        """The same file, named from the parent's directory: the child resolves names after its chdir."""
        return path if self.cwd is None else os.path.join(self.cwd, path)


def path_of(plan: Plan) -> Iterator[bytes]:
    """The directories of the new process's PATH; an empty entry is its own directory."""
    path = plan.env.get(b"PATH", os.fsencode(os.defpath))
    for directory in path.split(b":"):
        yield directory or b"."


def find_program(plan: Plan) -> bytes:
    """The path of argv[0], as the child is to execute it.

    Raises:
        FileNotFoundError: no directory of PATH has it.
        PermissionError: one has it, and it cannot be executed.
    """
    name = plan.argv[0]
    if b"/" in name:
        return name
    denied = False
    for directory in path_of(plan):
        candidate = os.path.join(directory, name)
        here = plan.seen_from_here(candidate)
        if os.path.isfile(here):
            if os.access(here, os.X_OK):
                return candidate
            denied = True
    number = errno.EACCES if denied else errno.ENOENT
    raise OSError(number, os.strerror(number), os.fsdecode(name))

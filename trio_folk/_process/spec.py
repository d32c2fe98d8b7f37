"""What is to be launched: a program, its arguments, environment, directory and descriptors, as data.

A mistake in any of them comes back from the kernel as a bare errno, or not at all: an argument with a NUL in
it arrives cut short. So a spec that exists is one that the kernel will at least understand.

Knows words and numbers. Does not know whether the program exists: that is asked at each launch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

__all__ = ["FIRST_FD", "ProcessSpec"]

FIRST_FD = 3
"""The lowest number a spec may hand out: 0 is /dev/null, 1 and 2 are pipes to the parent."""


def _argv(words: Iterable[str | bytes]) -> tuple[str | bytes, ...]:
    if isinstance(words, str | bytes):
        raise TypeError(f"argv is a sequence of words, not one string: {words!r}")
    return tuple(words)


def _is_argv(spec: object, attribute: object, words: tuple[str | bytes, ...]) -> None:
    if not words or not words[0]:
        raise ValueError(f"argv needs at least the name of a program, not {words!r}")
    for word in words:
        if not isinstance(word, str | bytes):
            raise TypeError(f"every word of argv is str or bytes, not {type(word).__name__}: {word!r}")
        if b"\0" in os.fsencode(word):
            raise ValueError(f"argv cannot carry a NUL: {word!r}")


def _is_env(spec: object, attribute: object, env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"env maps str to str, not {name!r} to {value!r}")
        if not name or "=" in name:
            raise ValueError(f"the name of an environment variable is not empty and has no '=': {name!r}")
        if b"\0" in os.fsencode(name) + os.fsencode(value):
            raise ValueError(f"an environment variable cannot carry a NUL: {name!r}")


def _is_cwd(spec: object, attribute: object, cwd: str | bytes | os.PathLike[Any] | None) -> None:
    if cwd is None:
        return
    raw = os.fsencode(cwd)
    if not raw or b"\0" in raw:
        raise ValueError(f"cwd is the path of a directory, not {cwd!r}")


def _are_fds(spec: object, attribute: object, fds: Mapping[int, int]) -> None:
    for number, descriptor in fds.items():
        if number < FIRST_FD:
            raise ValueError(f"fds begin at {FIRST_FD}: 0, 1 and 2 are the standard streams, not {number}")
        if descriptor < 0:
            raise ValueError(f"fds[{number}] is not a descriptor: {descriptor}")


def _copy(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(mapping)


@attrs.frozen(kw_only=True)
class ProcessSpec:
    """What to launch. It can be launched any number of times.

    Attributes:
        argv: the program and its arguments; a name without a slash is looked up on the PATH that the new
            process will see. str is encoded as file names are.
        env: variables set for it, over the parent's environment as it is at the launch.
        replace_env: ``env`` is the whole environment.
        cwd: where it starts; by default where the parent is.
        fds: number in the child (3 or more) to descriptor of the parent, which stays the caller's. Every
            other number above 2 is closed in the child.
        pid_namespace: it runs in a pid namespace of its own, which ends with it, and with it whatever it has started.
            The process launched is then one that stands before it: `namespace`.
    """

    argv: tuple[str | bytes, ...] = attrs.field(converter=_argv, validator=_is_argv)
    env: Mapping[str, str] = attrs.field(factory=dict, converter=_copy, validator=_is_env)
    replace_env: bool = False
    cwd: str | bytes | os.PathLike[Any] | None = attrs.field(default=None, validator=_is_cwd)
    fds: Mapping[int, int] = attrs.field(factory=dict, converter=_copy, validator=_are_fds)
    pid_namespace: bool = False

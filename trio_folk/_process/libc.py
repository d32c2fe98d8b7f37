"""posix_spawn of the GNU C library, called so that the interpreter goes on running meanwhile.

os.posix_spawn holds the GIL for the whole call, so that a thread around it hides nothing, and it knows
neither a working directory nor closing all the rest. ctypes releases the GIL.

Knows one C function. Does not know which descriptors are handed over, nor what becomes of the pid.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .plan import Plan
from .spec import FIRST_FD

__all__ = ["available", "spawn"]

# <spawn.h> of glibc: part of its ABI
_SETPGROUP, _SETSIGDEF, _SETSIGMASK = 0x02, 0x04, 0x08
# The structs are opaque: 80 and 336 bytes on x86-64, a sigset_t is 128. This is more than any of them.
_ROOM = 1024
_STDIN = os.devnull


def _load() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    needed = (
        "posix_spawn_file_actions_addclosefrom_np",
        "posix_spawn_file_actions_addchdir_np",
    )  # glibc 2.34, 2.29
    return library if all(hasattr(library, name) for name in needed) else None


_library = _load()


def available() -> bool:
    """Whether this system's C library has what `spawn` needs."""
    return _library is not None


def spawn(program: bytes, plan: Plan, moves: Mapping[int, int]) -> int:
    """Launch a program in a process group of its own, and return its pid.

    Args:
        program: its path.
        plan: its arguments, environment and directory.
        moves: number in the child to descriptor; every descriptor is above every number.

    Raises:
        OSError: it was not launched. Which step failed is not told.
    """
    pid = ctypes.c_int()
    with _actions(plan.cwd, moves) as actions, _attributes() as attributes:
        _check(
            _library.posix_spawn(
                ctypes.byref(pid), program, actions, attributes, _array(plan.argv), _array(plan.environment)
            )
        )
    return pid.value


@contextmanager
def _actions(cwd: bytes | None, moves: Mapping[int, int]) -> Iterator[Any]:
    do = _methods("posix_spawn_file_actions")
    actions = _struct()
    _check(do("init")(actions))
    try:
        _check(do("addopen")(actions, 0, os.fsencode(_STDIN), os.O_RDONLY, 0))
        for number, descriptor in moves.items():
            _check(do("adddup2")(actions, descriptor, number))
        last = max(moves)
        for number in range(FIRST_FD, last):
            if number not in moves:
                _check(do("addclose")(actions, number))  # of a number that is not open: ignored by glibc
        _check(do("addclosefrom_np")(actions, last + 1))
        if cwd is not None:
            _check(do("addchdir_np")(actions, cwd))
        yield actions
    finally:
        do("destroy")(actions)


@contextmanager
def _attributes() -> Iterator[Any]:
    do = _methods("posix_spawnattr")
    attributes, none, every = _struct(), _struct(), _struct()
    _library.sigemptyset(none)
    _library.sigfillset(every)
    _check(do("init")(attributes))
    try:
        _check(do("setflags")(attributes, ctypes.c_short(_SETPGROUP | _SETSIGDEF | _SETSIGMASK)))
        _check(do("setpgroup")(attributes, 0))
        _check(do("setsigmask")(attributes, none))
        _check(
            do("setsigdefault")(attributes, every)
        )  # Python ignores SIGPIPE and SIGXFSZ, and that is inherited
        yield attributes
    finally:
        do("destroy")(attributes)


def _methods(family: str) -> Callable[[str], Any]:
    return lambda verb: getattr(_library, f"{family}_{verb}")


def _struct() -> Any:
    return (ctypes.c_uint64 * (_ROOM // 8))()


def _array(words: tuple[bytes, ...] | list[bytes]) -> Any:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _check(number: int) -> None:
    if number != 0:
        raise OSError(number, os.strerror(number))

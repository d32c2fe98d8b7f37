"""posix_spawn as the standard library has it: for systems whose C library lacks what libc.py needs.

It holds the GIL while the process is made (0.4 ms on Linux), cannot set the working directory, and closes
only what was inheritable a moment before: what another thread makes inheritable in between is inherited.

Knows one function. Does not know which descriptors are handed over, nor what becomes of the pid.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping

from .plan import Plan
from .spec import FIRST_FD

__all__ = ["spawn"]

_LISTINGS = ("/proc/self/fd", "/dev/fd")


def spawn(program: bytes, plan: Plan, moves: Mapping[int, int]) -> int:
    """Launch a program in a process group of its own, and return its pid; see `libc.spawn`."""
    if plan.cwd is not None:
        raise OSError(errno.ENOTSUP, "this system's posix_spawn cannot set the working directory")
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in moves.items()]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inheritable() if number not in moves]
    # SIGKILL and SIGSTOP cannot be set: some systems refuse to try
    defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    return os.posix_spawn(
        program, plan.argv, plan.env, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=defaults
    )


def _inheritable() -> list[int]:
    found = []
    for number in _open_numbers():
        try:
            if number >= FIRST_FD and os.get_inheritable(number):
                found.append(number)
        except OSError:
            continue  # closed since it was listed, as the listing's own descriptor is
    return found


def _open_numbers() -> list[int]:
    for listing in _LISTINGS:
        try:
            return [int(name) for name in os.listdir(listing)]
        except OSError:
            continue
    return list(range(os.sysconf("SC_OPEN_MAX")))

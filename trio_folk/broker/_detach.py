"""Detaching: a daemon launched so that it is nobody's child, and never runs unrecorded.

Invariants
    1. The daemon's program begins only after its pid was recorded: who dies in between starts nothing.
    2. The listener is inherited by it alone; ours stays close-on-exec.
    3. A program that cannot be executed is an error here, not a silence.

Knows the shim. Does not know records or budgets.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from .._errors import BootFailed, BootTimeout
from .._process import ProcessSpec, open_process
from ._shim import GO, LISTENER

__all__ = ["launch_detached"]

SHIM_WAIT = 30.0
"""Seconds that the shim is given to say its pid, and then to become the program."""
_SCRIPT = Path(__file__).with_name("_shim.py")


async def launch_detached(
    program: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    log: str,
    listener: socket.socket | None,
    recorded: Callable[[int], None],
) -> None:
    """Launch a daemon; return when its program runs.

    Args:
        program, env, cwd, log: what it runs, and where what it prints goes.
        listener: handed down as descriptor 3.
        recorded: called with its pid before it may begin; if it raises, nothing begins.

    Raises:
        BootFailed: it could not be launched; nothing runs.
        BootTimeout: the system does not come to execute it.

    Cancellation: before it was recorded nothing has begun; afterwards the daemon goes on.
    """
    told = ["-", "0", "0"]
    fds = {}
    if listener is not None:
        found = os.fstat(listener.fileno())
        told = [str(LISTENER), str(found.st_dev), str(found.st_ino)]
        fds[LISTENER] = listener.fileno()
    asked, go = os.pipe()
    try:
        spec = ProcessSpec(
            argv=(sys.executable, "-I", "-S", os.fspath(_SCRIPT), log, cwd, *told, *program),
            env=env,
            replace_env=True,
            fds={**fds, GO: asked},
        )
        async with open_process(spec) as shim:
            os.close(asked)
            asked = -1
            said = await _line(shim.stdout_fd)
            word, _, number = said.partition(" ")
            if word != "pid":
                raise BootFailed(
                    f"the launch of {program[0]!r} failed before it began: {said}", stage="launch"
                )
            recorded(int(number))
            with suppress(BrokenPipeError):
                os.write(go, b"g")
            with trio.CancelScope(shield=True):  # bounded by SHIM_WAIT: it is recorded, so it must be known
                said = await _line(shim.stdout_fd)
    finally:
        for fd in (asked, go):
            if fd >= 0:
                os.close(fd)
    if said:
        raise _refusal(program, cwd, said)


async def _line(fd: int) -> str:
    """What the shim says next; nothing when it has become the program."""
    with trio.move_on_after(SHIM_WAIT):
        while True:
            try:
                return os.read(fd, 200).decode().strip()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(fd)
    raise BootTimeout(f"the launch has not come to its end within {SHIM_WAIT:g} s", stage="launch")


def _refusal(program: Sequence[str], cwd: str, said: str) -> BootFailed:
    word, _, number = said.partition(" ")
    why = os.strerror(int(number)) if word == "failed" and number.isdigit() else said
    return BootFailed(
        f"cannot launch {program[0]!r} in {cwd!r}: {why}",
        stage="launch",
        hint="the program is looked up on the PATH of the service's own environment",
    )

"""A process in a pid namespace of its own: whether that is allowed here, how it is launched, and which pid it has.

Where it is not allowed nobody learns it from an errno of a process launched already. So it is tried beforehand, by the
very program that will do it, and a refusal says what to change.

Knows the program `pid1` and /proc. Does not know trio: `launch` calls it in a thread.
Picture: docs/design/guardian.md
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import attrs

from .._errors import BootFailed
from .plan import Plan

__all__ = ["REMEDY", "inside", "require", "why_not", "worker_of"]

REMEDY = (
    "allow unprivileged user namespaces: sysctl user.max_user_namespaces and user.max_pid_namespaces, "
    "kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns, "
    "or the container's seccomp profile"
)
PATIENCE = 10.0
"""Seconds for a trial, which takes twelve milliseconds."""

_SCRIPT = Path(__file__).with_name("pid1.py").absolute()  # it may start in another directory
_lock = threading.Lock()  # the first workers of a pool are launched at the same time: one tries for all
_allowed = False


def require() -> None:
    """Return if pid namespaces can be made here. Blocks for a trial until one has succeeded.

    Raises:
        BootFailed: they cannot.
    """
    reason = why_not()
    if reason is not None:
        raise BootFailed(
            f"no pid namespace for the worker: {reason}",
            stage="launch",
            hint=f"{REMEDY}; or use isolation='group', which ends all but what leaves the worker's group",
        )


def why_not() -> str | None:
    """Why no pid namespace can be made here, or None where one can. A success is remembered, a failure is not."""
    global _allowed
    with _lock:
        reason = None if _allowed else _try()
        _allowed = reason is None
    return reason


def inside(program: bytes, plan: Plan) -> tuple[bytes, Plan]:
    """What to launch so that this program runs in a pid namespace."""
    python = os.fsencode(sys.executable)
    words = (python, b"-I", b"-S", os.fsencode(_SCRIPT), program, *plan.argv)
    return python, attrs.evolve(plan, argv=words)


def worker_of(pid: int) -> int | None:
    """The pid, as it is seen here, of the program in the namespace that this process made; None once it is gone.

    Also None while it is not there yet, and where the kernel does not tell (CONFIG_PROC_CHILDREN).
    """
    first = _first_child_of(pid)
    return None if first is None else _first_child_of(first)


def _first_child_of(pid: int) -> int | None:
    try:  # proc_tid_children(5): the oldest comes first, and adopted ones last
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _try() -> str | None:
    if sys.platform != "linux":
        return "only Linux has them"
    if not sys.executable or getattr(sys, "frozen", False):
        return "a program without an interpreter of its own cannot start what makes one"
    if not _SCRIPT.is_file():
        return f"{_SCRIPT} is not there: trio_folk must be installed as files"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", os.fspath(_SCRIPT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"what makes one ended with status {done.returncode}"

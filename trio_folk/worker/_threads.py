"""Which threads there are beside the main one: a fork copies their locks, and not the threads.

A lock that another thread held at the fork is held for ever in the child, which then hangs at its first
``print`` or import; on a bad day only. So the threads are named before, while somebody can still act.

Knows /proc and the names of threads. Does not know who forks.
"""

from __future__ import annotations

import os
import sys
import time

__all__ = ["threads_but_main"]

_ALONE = 3  # links of /proc/self/task: its own, its parent's, and the one thread's
_LOOKS = 10
_PAUSE = 0.005  # seconds between two looks: a thread that was joined may still be ending
_HINT = (
    "start threads in the worker's methods and not at import (for BLAS: OPENBLAS_NUM_THREADS=1), "
    "or say allow_threads=True if they are known to survive a fork"
)


def threads_but_main() -> str | None:
    """Why this process must not fork: a sentence that names its other threads; None when there are none."""
    if _alone():
        return None
    names = _names()
    for _ in range(_LOOKS):
        if not names:
            return None
        time.sleep(_PAUSE)
        names = _names()
    return f"the zygote must not fork while it has other threads: {', '.join(names)}; {_HINT}"


def _alone() -> bool:
    """What one system call can tell; if that is not yes, the names say more."""
    try:
        return os.stat("/proc/self/task").st_nlink == _ALONE
    except OSError:
        return False


def _names() -> list[str]:
    me = os.getpid()  # the main thread's number too: gettid(2)
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        numbers = [*_python_names()]  # no /proc: at least those that Python knows
    known = _python_names() if len(numbers) > 1 else {}
    return [known.get(number) or _native_name(number) for number in numbers if number != me]


def _python_names() -> dict[int, str]:
    threading = sys.modules.get("threading")
    if threading is None:
        return {}
    return {thread.native_id: repr(thread.name) for thread in threading.enumerate() if thread.native_id}


def _native_name(number: int) -> str:
    try:
        with open(f"/proc/self/task/{number}/comm") as file:
            return f"{file.read().strip()!r} (native)"
    except OSError:
        return f"{number} (native)"

"""Before the first fork: everything is imported, with nobody but the kernel watching for the parent's end.

What does not work
    The watchdog's thread: it would be the second thread at each fork. So while modules are imported, which may
    take for ever, the kernel kills this group as soon as anything happens on the control channel (fcntl(2),
    F_SETSIG); afterwards the zygote's loop sees the end of file.

Knows the target and the environment of a zygote. Does not know requests or workers' ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
from contextlib import contextmanager

from ._target import TargetError, import_named, load_target
from ._threads import threads_but_main
from ._worker import Worker
from ._zygote import Zygote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prefork"]


def prefork(channel: int, control: int, limit: int, target: str | None) -> Worker | None:
    """Import, then fork workers until the end of file: None then; in each of them, what it is to serve.

    Raises:
        TargetError: something could not be imported, or has started a thread. Only in the zygote.
    """
    preload = os.environ.pop("FOLK_PRELOAD", "")
    allow_threads = os.environ.pop("FOLK_ALLOW_THREADS", "") == "1"
    with _watched_by_the_kernel(control):
        worker = _import(preload.split(","), target)
        refusal = None if allow_threads else threads_but_main()
        if refusal is not None:
            raise TargetError("RuntimeError", refusal)
    zygote = Zygote(socket.socket(fileno=channel), control, limit, allow_threads=allow_threads)
    return worker if zygote.run() else None


def _import(preload: list[str], target: str | None) -> Worker:
    for name in preload:
        if name:
            import_named(name)
    if target is None:
        import pickle  # noqa: F401  # its workers run functions, and nothing else

        return Worker()
    worker = load_target(target)
    if worker.needs_trio:
        from . import _async  # noqa: F401  # else each worker imported trio for itself
    return worker


@contextmanager
def _watched_by_the_kernel(control: int) -> Iterator[None]:
    """A block in which nothing is said on the control channel: its end of file ends this process.

    Its group too, where it leads one: a zygote started by hand must not take its shell along.
    """
    flags = fcntl.fcntl(control, fcntl.F_GETFL)
    me = os.getpid()
    owner = -me if os.getpgrp() == me else me
    fcntl.fcntl(control, fcntl.F_SETOWN, owner)
    fcntl.fcntl(control, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(control, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(control, 0)  # a hang-up is always told
    if poll.poll(0):
        os.kill(owner, signal.SIGKILL)  # the parent went before the kernel was asked to watch
    try:
        yield
    finally:
        fcntl.fcntl(control, fcntl.F_SETFL, flags)

"""Boot: from two descriptors in the environment to a worker that said it is ready, and serves.

Everything a worker inherits can leak into what it starts: descriptors keep a dead worker's sockets open, and
variables tell a grandchild that it is a worker. So all of it is adopted here, before any user code runs.

Invariants
    1. The watchdog runs before the target is imported.
    2. ``control.ready`` or ``folk.failed`` is the first thing said, and only one of them.
    3. No process that user code starts has the channels, nor the variables that name them.

Knows the environment and the order of things. Does not know calls.
"""

from __future__ import annotations

import io
import os
import sys

from .._errors import ProtocolError
from .._wire import MAX_FRAME, Notify, encode_notify
from ._buffers import Buffers
from ._control import Control
from ._current import REVOKE, Running
from ._leave import leave
from ._sync import serve_blocking, write_whole
from ._target import TargetError, load_target
from ._watchdog import watch
from ._worker import Worker, ready_params

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_TEXT = 65536  # characters of a message or traceback


def main(argv: list[str]) -> int:
    """Be a worker until the parent closes the task channel; returns the exit status.

    With ``FOLK_RUNTIME=fork``: be a zygote, and return in each worker that it forks.
    """
    forks = os.environ.pop("FOLK_RUNTIME", "") == "fork"
    try:
        task_fd, control_fd, limit = _descriptor("FOLK_TASK_FD"), _descriptor("FOLK_CONTROL_FD"), _limit()
        sharing = _sharing()
        if len(argv) > 1:
            raise ValueError(f"takes one target, module:object, not {len(argv)}")
    except ValueError as error:
        return _complain(str(error))
    _adopt_environment()
    target = argv[0] if argv else None
    try:
        if forks:
            worker = _forked(task_fd, control_fd, limit, target)
            running, buffers = _keep(task_fd, control_fd, limit, sharing)
        else:
            running, buffers = _keep(task_fd, control_fd, limit, sharing)
            worker = load_target(target) if target else Worker()
    except TargetError as error:
        _say(control_fd, _failed(error, limit))
        return 1
    ready = encode_notify("control.ready", ready_params(worker, shares=buffers is not None), limit)
    late = worker._around is not None  # it has to start something before it can serve
    if not late and not _say(control_fd, ready):
        return 0
    if target is None:
        _warm_up()
    try:
        _serve(worker, task_fd, limit, running, buffers, lambda: not late or _say(control_fd, ready))
    except TargetError as error:
        _say(control_fd, _failed(error, limit))
        status = 1
    except ProtocolError as error:
        status = _complain(f"the parent broke the protocol: {error}")
    else:
        status = 0
    if "opentelemetry.trace" in sys.modules:
        from ._tracing import flush

        flush()
    if forks:
        leave(status)
    return status


def _forked(task_fd: int, control_fd: int, limit: int, target: str | None) -> Worker:
    """Be a zygote; returns in its workers, whose channels have the zygote's numbers."""
    from ._prefork import prefork

    worker = prefork(task_fd, control_fd, limit, target)
    if worker is None:
        os._exit(0)  # threads that the target was allowed to start must not hold it up
    return worker


def _keep(
    task_fd: int, control_fd: int, limit: int, sharing: tuple[str, int] | None
) -> tuple[Running, Buffers | None]:
    """Keep the channels from processes that user code forks, die with the parent, and hear what it says."""
    control = Control(control_fd)

    # A forked child (multiprocessing, say) does not exec: it would hold the channels, and could write to them.
    def forget() -> None:
        os.close(task_fd)
        control.forget()

    os.register_at_fork(after_in_child=forget)
    running = Running()
    buffers = Buffers(control, *sharing, limit) if sharing is not None else None

    def listen(message: Notify) -> None:
        if message.method == REVOKE:
            control.say(encode_notify("folk.revoked", running.revoke(message.params)))
        else:
            running.hear(message)
            if buffers is not None:
                buffers.hear(message)

    watch(control, listen)
    return running, buffers


def _warm_up() -> None:
    """Without a target every call is a pickle, and the first need not wait for that module: we are ready already."""
    import pickle  # noqa: F401


def _serve(
    worker: Worker,
    task_fd: int,
    limit: int,
    running: Running,
    buffers: Buffers | None,
    begin: Callable[[], bool],
) -> None:
    if not worker.needs_trio:
        serve_blocking(worker, task_fd, limit, running, buffers)
        return
    from ._async import run

    run(worker, task_fd, limit, running, buffers, begin)


def _descriptor(variable: str) -> int:
    value = os.environ.pop(variable, "")
    if not value.isdecimal() or int(value) == 0:
        told = f"is {value!r}" if value else "is not set"
        raise ValueError(f"{variable} {told}; it holds a descriptor's number: workers are started by a pool")
    try:
        os.set_inheritable(int(value), False)
    except (OSError, OverflowError) as error:
        raise ValueError(f"{variable} is {value}, which is not an open descriptor: {error}") from None
    return int(value)


def _limit() -> int:
    value = os.environ.pop("FOLK_MAX_FRAME", str(MAX_FRAME))
    if not value.isdecimal() or int(value) == 0:
        raise ValueError(f"FOLK_MAX_FRAME is {value!r}; it holds a number of bytes")
    return int(value)


def _sharing() -> tuple[str, int] | None:
    """As what large bytes are to arrive, and how much may be shared; None where the parent takes no part."""
    transfer, most = os.environ.pop("FOLK_TRANSFER", ""), os.environ.pop("FOLK_MAX_SHARED", "")
    if transfer not in ("auto", "view", "copy") or not most.isdecimal() or not hasattr(os, "memfd_create"):
        return None
    return transfer, int(most)


def _adopt_environment() -> None:
    own = os.environ.pop("FOLK_PYTHONPATH", None)
    if own:
        os.environ["PYTHONPATH"] = own
    elif own is not None:
        os.environ.pop("PYTHONPATH", None)

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Into a pipe it would keep 8 KiB back, and lose them when the worker is killed.
        sys.stdout.reconfigure(line_buffering=True)


def _failed(error: TargetError, limit: int) -> bytes:
    # At most four bytes a character, and two long texts: this fits whatever the limit is.
    room = min(_TEXT, limit // 16)
    params = {
        "type": error.kind[:100],
        "message": error.message[:room],
        "traceback": error.traceback[-room:],
    }
    return encode_notify("folk.failed", params, limit)


def _say(control_fd: int, frame: bytes) -> bool:
    """Whether the parent was there to hear it."""
    try:
        write_whole(control_fd, frame)
    except OSError:
        return False
    return True


def _complain(message: str) -> int:
    print(f"trio_folk.worker: {message}", file=sys.stderr)
    return 1

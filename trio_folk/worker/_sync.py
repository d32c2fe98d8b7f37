"""The loop of a worker whose methods are all synchronous: one call at a time, in the main thread, no trio.

A worker that collects calls sits on what another slot could have run. This one may be sent several, but begins
one when the reply to the last has left, and until then gives any of the others back.

Invariants
    1. Calls run strictly in the order they came, and each reply is written whole before the next call starts.
    2. Between calls nothing of the last one is held: its params and result are free.
    3. End of file ends the loop after what came before it was answered.

Knows one blocking descriptor. Does not know the control channel, trio, or what the calls do.
"""

from __future__ import annotations

import os

from .._wire import Message, MessageDecoder, Notify, Request
from ._current import Adopted, Running, only
from ._dispatch import EXECUTE, answer, cancelled, unwrap
from ._python import Functions
from ._stream import stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._buffers import Buffers
    from ._progress import Reports
    from ._worker import Worker

__all__ = ["READ", "serve_blocking", "write_whole"]

READ = 65536  # bytes; one read of 256 KiB doubles the time of a short call


def serve_blocking(
    worker: Worker, task_fd: int, limit: int, running: Running, buffers: Buffers | None = None
) -> None:
    """Answer calls until end of file, or until nobody reads the replies.

    Args:
        running: is kept up to date with the call that runs, and says which were cancelled.
        buffers: what is shared with the parent, if anything.

    Raises:
        ProtocolError: what came is not the protocol.
    """
    os.set_blocking(task_fd, True)
    only(running)
    running.tell = lambda reports: _tell(task_fd, reports)
    running.write = lambda frame: write_whole(task_fd, frame)
    decoder = MessageDecoder(limit)
    functions = Functions(buffers)
    try:
        while _turn(worker, functions, decoder, task_fd, limit, running):
            pass
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent closed its end, and wants no replies
    decoder.close()


def _turn(
    worker: Worker, functions: Functions, decoder: MessageDecoder, fd: int, limit: int, running: Running
) -> bool:
    """Answer what one read brings; a frame of its own, so that nothing of it stays (invariant 2)."""
    try:
        data = os.read(fd, READ)
    except ConnectionResetError:  # the parent closed its end with our replies unread in it
        return False
    messages = decoder.feed(data)
    messages.reverse()
    while messages:
        _take(messages.pop(), worker, functions, fd, limit, running)
    return bool(data) and decoder.error is None


def _take(
    message: Message, worker: Worker, functions: Functions, fd: int, limit: int, running: Running
) -> None:
    """Answer a request, unless it was given back; keep a definition."""
    if type(message) is Request:
        msgid = running.begun = running.msgid = message.msgid
        if running.revoked and running.was_given_back(msgid):
            running.msgid = 0
            return
        if running.cancelled or message.method == EXECUTE:
            frame = _answer_with_care(worker, functions, message, fd, limit, running)
        else:
            frame = answer(worker, functions, message, limit)
        if running.cancelled:
            running.settle(msgid)
        running.msgid = 0
        if functions.uses:
            functions.settle()
        write_whole(fd, frame)
    elif type(message) is Notify:
        functions.hear(message)


def _answer_with_care(
    worker: Worker, functions: Functions, request: Request, fd: int, limit: int, running: Running
) -> bytes:
    """Answer a request that came with circumstances, or one that may have been cancelled before it began."""
    msgid = request.msgid
    if msgid in running.cancelled:
        return cancelled(msgid, limit)
    inner = unwrap(request, running, limit) if request.method == EXECUTE else request
    _, context = running.circumstances(msgid)
    with Adopted(worker._context, context):
        if isinstance(inner, bytes):
            frame = inner
        elif msgid in running.streams:
            frame = _stream(worker, inner, fd, limit, running)
        else:
            frame = answer(worker, functions, inner, limit)
    running.settle(msgid)
    return running.close_reports(msgid) + frame if msgid in running.reports else frame


def _stream(worker: Worker, request: Request, fd: int, limit: int, running: Running) -> bytes:
    reports = running.reports.get(request.msgid)

    def write(frame: bytes) -> None:
        if reports is None:
            write_whole(fd, frame)
        else:
            reports.alone(lambda each: write_whole(fd, each), frame)

    return stream(worker, request, running.streams[request.msgid], limit, write)


def _tell(fd: int, reports: Reports) -> None:
    try:
        write_whole(fd, reports.take())
    except OSError:
        return  # the parent is gone, which the loop finds out by itself


def write_whole(fd: int, frame: bytes) -> None:
    """Write all of it to a blocking descriptor."""
    written = os.write(fd, frame)
    while written < len(frame):
        # A slice per write: a frame that takes several is large, and each takes most of a socket's buffer.
        written += os.write(fd, memoryview(frame)[written:])

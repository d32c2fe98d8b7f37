"""The loop of a worker whose methods are all synchronous: one call at a time, in the main thread, no trio.

A worker that read ahead would sit on calls which another slot could have run. It takes the next call when the
reply to the last one has left.

Invariants
    1. Calls run strictly in the order they came, and each reply is written whole before the next call starts.
    2. Between calls nothing of the last one is held: its params and result are free.
    3. End of file ends the loop after what came before it was answered.

Knows one blocking descriptor. Does not know the control channel, trio, or what the calls do.
"""

from __future__ import annotations

import os

from .._wire import MessageDecoder, Notify, Request
from ._dispatch import answer
from ._python import DEFINE, Functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._worker import Worker

__all__ = ["READ", "serve_blocking", "write_whole"]

READ = 65536  # bytes; one read of 256 KiB doubles the time of a short call


def serve_blocking(worker: Worker, task_fd: int, limit: int) -> None:
    """Answer calls until end of file, or until nobody reads the replies.

    Raises:
        ProtocolError: what came is not the protocol.
    """
    os.set_blocking(task_fd, True)
    decoder = MessageDecoder(limit)
    functions = Functions()
    try:
        while _turn(worker, functions, decoder, task_fd, limit):
            pass
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent closed its end, and wants no replies
    decoder.close()


def _turn(worker: Worker, functions: Functions, decoder: MessageDecoder, fd: int, limit: int) -> bool:
    """Answer what one read brings; a frame of its own, so that nothing of it stays (invariant 2)."""
    try:
        data = os.read(fd, READ)
    except ConnectionResetError:  # the parent closed its end with our replies unread in it
        return False
    for message in decoder.feed(data):
        if type(message) is Request:
            write_whole(fd, answer(worker, functions, message, limit))
        elif type(message) is Notify and message.method == DEFINE:
            functions.define(message.params)
    return bool(data) and decoder.error is None


def write_whole(fd: int, frame: bytes) -> None:
    """Write all of it to a blocking descriptor."""
    written = os.write(fd, frame)
    while written < len(frame):
        # A slice per write: a frame that takes several is large, and each takes most of a socket's buffer.
        written += os.write(fd, memoryview(frame)[written:])

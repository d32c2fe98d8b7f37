"""Streams: a generator's items, one by one, as many as there is room for, and its end whatever ends it.

A worker that sends as fast as it can fills the memory of whoever reads slowly, and a generator that is dropped where it
stands leaves its file open. So an item costs credit, which is waited for before the generator is run on, and when
nobody wants more the generator is closed.

Invariants
    1. No item is sent without credit.
    2. However a stream ends, its generator was closed when the reply is written; one that does not obey is an error.
    3. A method that gives one result is never run as a stream.

Knows generators and frames. Does not know descriptors, trio, or where credit comes from.
Picture: docs/design/stream.md
"""

from __future__ import annotations

from .._errors import FrameTooLarge
from .._wire import encode_notify, encode_response
from ._current import CallCancelled
from ._dispatch import cancelled, error_frame, failure, method_call, success, unsendable
from ._failures import INVALID_PARAMS, Refused, error_map, message_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._wire import Request
    from ._call import Call
    from ._credit import Credit
    from ._worker import Worker

__all__ = ["Unsent", "ended", "failed", "item_frame", "left", "open_items", "stream"]


class Unsent(Exception):
    """An item that cannot be sent; holds the frame of the reply that says why."""

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self.frame = frame


def stream(
    worker: Worker, request: Request, credit: Credit, limit: int, write: Callable[[bytes], object]
) -> bytes:
    """Send what a synchronous generator gives, and return the frame of the reply.

    Args:
        write: writes a frame whole; what it raises comes out, and the generator is closed.
    """
    opened = open_items(worker, request, limit)
    if isinstance(opened, bytes):
        return opened
    call, items = opened
    msgid = request.msgid
    reply: bytes | None = None
    while credit.wait():
        try:
            value = next(items)
        except StopIteration as stop:
            return success(call, msgid, stop.value, limit)
        except BaseException as exc:
            return failed(call, msgid, exc, credit, limit)
        try:
            frame = item_frame(call, msgid, value, limit)
        except Unsent as unsent:
            reply = unsent.frame
            break
        write(frame)
    return _close(call, msgid, items, limit) or reply or left(msgid, credit, limit)


def open_items(worker: Worker, request: Request, limit: int) -> tuple[Call, Any] | bytes:
    """The method, and the generator that it made; or the frame that refuses the request."""
    msgid, name, params = request
    try:
        call, args, kwargs = method_call(worker, name, params)
    except Refused as refused:
        return error_frame(msgid, refused.error, limit)
    if not worker._methods[name].streams:
        message = f"{call.name} is no generator, and gives one result: call it with execute()"
        return error_frame(msgid, error_map(INVALID_PARAMS, message), limit)
    try:
        items = call.fn(*args, **kwargs)
    except BaseException as exc:
        return failure(call, msgid, exc, limit)
    if hasattr(items, "__next__") or hasattr(items, "__anext__"):
        return call, items
    message = f"{call.name} did not return a generator, but {type(items).__name__}: call it with execute()"
    return error_frame(msgid, error_map(INVALID_PARAMS, message), limit)


def item_frame(call: Call, msgid: int, value: Any, limit: int) -> bytes:
    """The frame that carries an item.

    Raises:
        Unsent: it cannot be carried.
    """
    try:
        return encode_notify("folk.item", [msgid, value], limit)
    except FrameTooLarge as large:
        message = f"an item of {call.name} is too large: {large.message}; {large.hint}"
        error = unsendable(large, message)
    except Exception as exc:
        error = unsendable(exc, f"an item of {call.name} cannot be sent: {message_of(exc)}")
    raise Unsent(error_frame(msgid, error, limit))


def ended(msgid: int, limit: int) -> bytes:
    """The frame that says that there are no more items."""
    return encode_response(msgid, None, None, limit)


def left(msgid: int, credit: Credit, limit: int) -> bytes:
    """The frame that says that there are none because nobody wanted more."""
    return ended(msgid, limit) if credit.ended else cancelled(msgid, limit)


def failed(call: Call, msgid: int, exc: BaseException, credit: Credit, limit: int) -> bytes:
    """The frame that carries an exception; to let a cancellation pass is no failure."""
    if isinstance(exc, CallCancelled):
        return left(msgid, credit, limit)
    return failure(call, msgid, exc, limit)


def _close(call: Call, msgid: int, items: Any, limit: int) -> bytes | None:
    """Close a generator where it stands; the frame that says what it raised, if it did."""
    close = getattr(items, "close", None)
    if close is None:
        return None  # an iterator without clean-up
    try:
        close()
    except BaseException as exc:
        return failure(call, msgid, exc, limit)
    return None

"""Dispatch: a request becomes the frame of its reply, whatever the method does.

A loop that lets an exception through dies with it, and takes the next callers along. So both loops hand a
request in here and get bytes back: the result, or an error map where anything went wrong.

Invariants
    1. Every request gets exactly one frame, no longer than the limit.
    2. Nothing that a method raises comes out, but what the loop itself named as fatal.

Knows methods, functions and frames. Does not know descriptors, trio, or what is sent when.
"""

from __future__ import annotations

import math
import time

from .._errors import FrameTooLarge
from .._wire import encode_response
from ._current import CallCancelled
from ._failures import (
    CANCELLED,
    INVALID_PARAMS,
    METHOD_FAILED,
    NOT_FOUND,
    Refused,
    did_you_mean,
    error_map,
    message_of,
    qualified_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .._wire import Request
    from ._call import Call
    from ._current import Running
    from ._python import Functions
    from ._worker import Method, Worker

__all__ = ["answer", "cancelled", "error_frame", "failure", "method_call", "success", "unsendable", "unwrap"]

CALL = "folk.call"
EXECUTE = "folk.execute"
_SHOWN = 100  # characters of a name or message, where the whole did not fit into a frame


def answer(
    worker: Worker,
    functions: Functions,
    request: Request,
    limit: int,
    fatal: tuple[type[BaseException], ...] = (),
) -> bytes:
    """Run a synchronous call and return the frame of its reply.

    Args:
        fatal: exceptions that are the loop's own affair, and come out.
    """
    msgid, name, params = request
    try:
        call, args, kwargs = functions.call(params) if name == CALL else method_call(worker, name, params)
    except Refused as refused:
        return error_frame(msgid, refused.error, limit)
    try:
        value = call.fn(*args, **kwargs)
    except fatal:
        raise
    except BaseException as exc:
        return failure(call, msgid, exc, limit)
    return success(call, msgid, value, limit)


def method_call(worker: Worker, name: str, params: Any) -> tuple[Call, Sequence[Any], Mapping[str, Any]]:
    """A named method, and the params as positional and keyword arguments.

    Raises:
        Refused: there is none of that name.
    """
    method = worker._methods.get(name)
    if method is None:
        shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
        hint = (
            did_you_mean(name, worker._methods) or f"; this worker has {', '.join(sorted(worker._methods))}"
        )
        raise Refused(error_map(NOT_FOUND, f"method not found: {shown}{hint}"))
    return method, *bind(method, params)


def bind(method: Method, params: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Params as positional and keyword arguments."""
    if method.raw:
        return (params,), {}
    if params is None:
        return (), {}
    if type(params) is dict:
        return (), params
    if type(params) is list:
        return params, {}
    return (params,), {}


def success(call: Call, msgid: int, value: Any, limit: int) -> bytes:
    """The frame that carries a result, or says why it cannot be carried."""
    try:
        return encode_response(msgid, None, call.result(value), limit)
    except Refused as refused:
        error = refused.error
    except FrameTooLarge as large:
        error = unsendable(large, f"the result of {call.name} is too large: {large.message}; {large.hint}")
    except Exception as exc:
        if hasattr(value, "__next__") or hasattr(value, "__anext__"):
            message = f"{call.name} gives items one by one, and not one result: call it with stream()"
            error = error_map(INVALID_PARAMS, message)
        else:
            error = unsendable(exc, f"the result of {call.name} cannot be sent: {message_of(exc)}")
    return error_frame(msgid, error, limit)


def failure(call: Call, msgid: int, exc: BaseException, limit: int) -> bytes:
    """The frame that carries an exception, caught in the frame that called the function."""
    if isinstance(exc, CallCancelled):
        return cancelled(msgid, limit)
    return error_frame(msgid, call.error(exc), limit)


def cancelled(msgid: int, limit: int) -> bytes:
    """The frame that says that the call was cancelled, and has ended."""
    return error_frame(msgid, error_map(CANCELLED, "the call was cancelled"), limit)


def unwrap(request: Request, running: Running, limit: int) -> Request | bytes:
    """The request inside ``folk.execute``, whose circumstances are noted; or the frame that refuses it."""
    told = request.params
    if not isinstance(told, dict) or type(told.get("method")) is not str:
        message = f"{EXECUTE} takes a map with a method, not {told!r:.100}"
        return error_frame(request.msgid, error_map(INVALID_PARAMS, message), limit)
    remaining, context, credit = told.get("remaining"), told.get("context"), told.get("stream")
    deadline = time.monotonic() + remaining if isinstance(remaining, int | float) else math.inf
    running.note(request.msgid, deadline, context if isinstance(context, dict) else {})
    if credit is not None:
        if type(credit) is not int or credit < 1:
            message = f"the credit of a stream is an integer from 1, not {credit!r:.100}"
            return error_frame(request.msgid, error_map(INVALID_PARAMS, message), limit)
        running.note_stream(request.msgid, credit)
    if told.get("feed") is True:
        running.note_feed(request.msgid)
    if told.get("progress") is True:
        running.note_reports(request.msgid)
    return request._replace(method=told["method"], params=told.get("params"))


def unsendable(exc: Exception, message: str) -> dict[str, object]:
    """The error that says that a value cannot be sent."""
    # The traceback would show nothing but our encoder.
    return error_map(METHOD_FAILED, message, {"type": qualified_name(type(exc)), "traceback": ""})


def error_frame(msgid: int, error: dict[str, Any], limit: int) -> bytes:
    """The frame that carries an error map, cut where it would not fit."""
    try:
        return encode_response(msgid, error, None, limit)
    except FrameTooLarge:
        data = error.get("data") or {}
        short = {"type": str(data.get("type", ""))[:_SHOWN]}
        message = f"{error['message'][:_SHOWN]}... (cut: the error did not fit into a frame)"
        return encode_response(msgid, error_map(error["code"], message, short), None, limit)

"""The three messages: Request, Response, Notify; and the arrays that stand for them.

Folk's PHP side dies of an array one element too long, and its Rust side ignores the surplus. We are strict
in both directions, so that a mistake shows on the side that made it.

Invariants
    1. An array becomes a message only if its length, its kind, its msgid and its method are exactly right.
    2. A msgid is an unsigned 32-bit integer and never a bool; next_msgid never gives 0.

Knows Python values. Does not know bytes.
"""

from __future__ import annotations

from collections import namedtuple

from .._errors import InvalidFrame

# Importing typing costs a worker ten milliseconds at birth; type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple, TypeAlias

    class Request(NamedTuple):
        """A call: answer it with a Response of the same msgid."""

        msgid: int
        method: str
        params: Any

    class Response(NamedTuple):
        """The answer to a call: `error` is nil when it succeeded, and anything else when it failed."""

        msgid: int
        error: Any
        result: Any

    class Notify(NamedTuple):
        """A message that is never answered."""

        method: str
        params: Any

else:
    Request = namedtuple("Request", "msgid method params")
    Response = namedtuple("Response", "msgid error result")
    Notify = namedtuple("Notify", "method params")
    Request.__doc__ = "A call: answer it with a Response of the same msgid."
    Response.__doc__ = "The answer to a call: `error` is nil when it succeeded, anything else when it failed."
    Notify.__doc__ = "A message that is never answered."

__all__ = ["MAX_MSGID", "Message", "Notify", "Request", "Response", "message_from", "next_msgid"]

Message: TypeAlias = Request | Response | Notify

MAX_MSGID = 0xFFFF_FFFF

_new = tuple.__new__  # half the price of Response(...), on the path of every call


def next_msgid(msgid: int) -> int:
    """The msgid after `msgid`; start from 0. It wraps to 1, so 0 is never used."""
    return msgid + 1 if msgid < MAX_MSGID else 1


def message_from(array: object) -> Message:
    """The message that a decoded payload stands for.

    Raises:
        InvalidFrame: it stands for none.
    """
    if type(array) is not list or not array:
        raise InvalidFrame(f"a payload is an array that begins with a kind, and this is {_describe(array)}")
    kind, length = array[0], len(array)
    if type(kind) is int:  # True == 1, and would pass for a Response
        if length == 4 and (kind == 1 or kind == 0):
            msgid = array[1]
            if type(msgid) is not int or not 0 <= msgid <= MAX_MSGID:
                raise InvalidFrame(f"a msgid is an unsigned 32-bit integer, and this is {_describe(msgid)}")
            if kind == 1:
                return _new(Response, (msgid, array[2], array[3]))
            _check_method(array[2])
            return _new(Request, (msgid, array[2], array[3]))
        if length == 3 and kind == 2:
            _check_method(array[1])
            return _new(Notify, (array[1], array[2]))
    raise InvalidFrame(f"no message has kind {_describe(kind)} and {length} elements")


def _check_method(method: object) -> None:
    if type(method) is not str:
        raise InvalidFrame(f"a method is a string, and this is {_describe(method)}")


def _describe(value: object) -> str:
    # Only numbers are short for sure; the rest is named by its type alone.
    if value is None or type(value) in (bool, int):
        return repr(value)
    return f"of type {type(value).__name__}"

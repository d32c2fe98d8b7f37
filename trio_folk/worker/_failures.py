"""Failures as data: an exception becomes the error map of a reply, with the traceback that its author needs.

An error that travels as ``str(exc)`` alone sends its reader to the worker's logs, if there are any. So the
map carries the class, the message, and the traceback from the user's own function on: our frames are cut off.

Invariants
    1. Whatever was raised, the map is made and can be encoded: a broken ``__str__`` or a lone surrogate
       never turns one failure into two.
    2. Nothing is imported until the first failure.

Knows exceptions. Does not know calls or the wire.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

__all__ = ["CANCELLED", "INVALID_PARAMS", "METHOD_FAILED", "NOT_FOUND", "Refused", "describe", "error_map"]
__all__ += ["did_you_mean", "encodable", "message_of", "qualified_name", "traceback_text"]

NOT_FOUND = -32601
INVALID_PARAMS = -32602
METHOD_FAILED = -32603
CANCELLED = -32800


class Refused(Exception):
    """A call that cannot be begun; holds the error map to answer with."""

    def __init__(self, error: dict[str, object]) -> None:
        super().__init__(error["message"])
        self.error = error


def error_map(code: int, message: str, data: Mapping[str, object] | None = None) -> dict[str, object]:
    """An error as replies carry it."""
    error: dict[str, object] = {"code": code, "message": encodable(message)}
    if data is not None:
        error["data"] = data
    return error


def describe(exc: BaseException, *, code: int | None = None, message: str | None = None) -> dict[str, object]:
    """The error map of an exception that was caught in the frame that called the user's function.

    Without a code it is INVALID_PARAMS where the call did not fit the function, else METHOD_FAILED.
    """
    # The first entry of the traceback is the frame that caught it, which is ours.
    users = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
    if code is None:
        code = INVALID_PARAMS if users is None and isinstance(exc, TypeError) else METHOD_FAILED
    data: dict[str, object] = {
        "type": encodable(qualified_name(type(exc))),
        "traceback": traceback_text(exc, users),
    }
    return error_map(code, message_of(exc) if message is None else message, data)


def message_of(exc: BaseException) -> str:
    """Its message, or the name of its class where it has none."""
    try:
        text = str(exc)
    except Exception as broken:
        return f"{type(exc).__name__}, whose str() raised {type(broken).__name__}"
    return text or type(exc).__name__


def qualified_name(cls: type) -> str:
    """``module.Class``, or ``Class`` for builtins."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def traceback_text(exc: BaseException, tb: TracebackType | None) -> str:
    """The traceback as Python prints it, from `tb` on."""
    import traceback

    return encodable("".join(traceback.format_exception(type(exc), exc, tb)))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the name that comes closest, or nothing."""
    import difflib

    close = difflib.get_close_matches(name[:100], names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def encodable(text: str) -> str:
    """The text with lone surrogates made visible, for they have no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()

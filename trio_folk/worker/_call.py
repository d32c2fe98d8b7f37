"""A function that can be called from outside, and how what becomes of a call is told.

Named methods and pickled functions differ in nothing else, so this is all that the loops know of either. One
is made for a function and not for a call: it is on the path of every call.

Knows a function. Does not know its arguments, requests or frames.
"""

from __future__ import annotations

from types import CoroutineType

from ._failures import METHOD_FAILED, Refused, describe, error_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Call"]


class Call:
    """A function under the name that errors use."""

    __slots__ = ("fn", "name")

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        self.name = name
        self.fn = fn

    def result(self, value: Any) -> Any:
        """What the wire carries for this result.

        Raises:
            Refused: it cannot be carried.
        """
        if type(value) is CoroutineType:
            value.close()
            message = f"{self.name} returned a coroutine: the method itself must be declared with async def"
            raise Refused(error_map(METHOD_FAILED, message, {"type": "TypeError", "traceback": ""}))
        return value

    def error(self, exc: BaseException) -> dict[str, object]:
        """What the wire carries for this exception, caught where `fn` was called."""
        return describe(exc)

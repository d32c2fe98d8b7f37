"""The functions that `RuntimeContract` has run in workers; each raises or returns one awkward thing.

Knows nothing of runtimes. Workers import this file by name, when one of these is called.
"""

from __future__ import annotations

import sys
import threading
from typing import NoReturn

__all__ = [
    "Picky",
    "divide",
    "echo",
    "keep",
    "kept",
    "keywords",
    "raise_ours",
    "raise_picky",
    "raise_system_exit",
    "raise_trios",
    "raise_value_error",
]
__all__ += ["raise_group", "raise_group_with_trios", "return_a_lock"]


class Picky(Exception):
    """An exception whose pickle cannot be loaded: its constructor wants more than its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


_kept: memoryview | None = None


def echo(value: object) -> object:
    """What it was called with."""
    return value


def keep(view: memoryview) -> bytes:
    """Holds on to the argument."""
    global _kept
    _kept = view
    return kept()


def kept() -> bytes:
    """What it was kept with, if all of it is still the same."""
    assert _kept is not None
    content = bytes(_kept)
    assert content == content[:1] * len(content)
    return content[:1]


def divide(number: int) -> float:
    """Raises for 0."""
    return 1 / number


def keywords(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """What it was called with."""
    return args, kwargs


def raise_value_error(message: str) -> NoReturn:
    """Raises what can travel."""
    raise ValueError(message)


def raise_picky() -> NoReturn:
    """Raises what cannot."""
    raise Picky("one", "two")


def raise_system_exit() -> NoReturn:
    """Raises a BaseException."""
    sys.exit("as if it were a script")


def raise_trios() -> NoReturn:
    """Raises an error of trio's, which the caller could take for its own."""
    import trio

    raise trio.TooSlowError("in the worker")


def raise_ours() -> NoReturn:
    """Raises an error of ours, which the caller could take for the pool's."""
    from .._errors import WorkerDied

    raise WorkerDied("in the worker")


def raise_group() -> NoReturn:
    """Raises a group that can travel."""
    raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])


def raise_group_with_trios() -> NoReturn:
    """Raises a group that hides an error of trio's."""
    import trio

    raise ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [trio.TooSlowError()])])


def return_a_lock() -> object:
    """Returns what cannot be pickled."""
    return threading.Lock()

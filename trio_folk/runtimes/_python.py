"""Python calls by pickle: which function, with what, and what came back.

A function of a module is pickled once and named by number from then on; anything else travels with its
call. Functions and classes of ``__main__``, lambdas and closures go by value through cloudpickle where it is
installed, for a worker never imports the parent's ``__main__`` again.

Trust: only answers of workers that the parent launched itself from our SDK are unpickled.

Knows pickle. Does not know sockets, workers or slots.
"""

from __future__ import annotations

import functools
import itertools
import pickle
import pickletools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import FolkError, RemoteError
from .._wire import encode_notify, pack
from ..worker._large import Large
from ..worker._views import dumps as dumps_views
from ._jobs import Told, WireJob, application_error

__all__ = ["PythonJob", "definition_of", "dumps"]

_numbers = itertools.count(1)
_known: dict[Callable[..., Any], tuple[int, bytes]] = {}  # functions of modules, which keep them anyway
_MEMO_GETS = frozenset({"BINGET", "LONG_BINGET"})
_BY_NAME = frozenset({types.FunctionType, types.BuiltinFunctionType, type})


class PythonJob(WireJob):
    """A call of a Python function."""

    __slots__ = ("_definition", "_fn", "_number")
    prefaced = True

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], limit: int
    ) -> None:
        self._fn = fn
        self._number, self._definition = definition_of(fn)
        pickled = dumps((args, kwargs), "the arguments of", fn)
        target = self._definition if self._number is None else self._number
        WireJob.__init__(self, "folk.call", pack((target, pickled)), limit)  # super() costs as much again

    @property
    def name(self) -> str:
        fn = self._fn
        while isinstance(fn, functools.partial):  # its own name would hold an address
            fn = fn.func
        return getattr(fn, "__qualname__", None) or type(fn).__qualname__

    @property
    def _name(self) -> str:
        return name_of(self._fn)

    def preface(self, told: Told, limit: int) -> bytes:
        if self._number is None or self._number in told:
            return told.release() if told.over else b""
        definition = encode_notify("folk.define", [self._number, self._definition], limit)
        told.add(self._number)
        return definition + told.release() if told.over else definition

    def value(self, result: Any) -> Any:
        try:
            return pickle.loads(result)
        except Exception as error:
            raise self._not_unpickled(error) from error

    def value_beside(self, result: Any, buffers: Sequence[Any]) -> Any:
        """What the caller gets for this result, of which these buffers came beside it."""
        try:
            return pickle.loads(result, buffers=buffers)
        except Exception as error:
            raise self._not_unpickled(error) from error

    def _not_unpickled(self, error: Exception) -> RemoteError:
        return RemoteError(
            f"{self._name} returned something that cannot be unpickled here: {error!r}",
            hint="the classes of the result must be importable in the parent under the same names",
        )

    def error(self, error: Any) -> Exception:
        told = application_error(error)
        data = told.data if isinstance(told.data, dict) else {}
        remote_type, remote_traceback = told.remote_type or "", told.remote_traceback or ""
        original = _unpickled(data.get("pickle"))
        if original is not None and _may_travel(original):
            original.add_note(f"In the worker:\n{remote_traceback.rstrip()}")
            return original
        return RemoteError(
            f"{self._name} raised {remote_type}: {told.message}", remote_type, remote_traceback
        )

    def __repr__(self) -> str:
        return f"<PythonJob {self._name}, {len(self.params)} bytes>"


def name_of(fn: Callable[..., Any]) -> str:
    """What a person would call it."""
    return getattr(fn, "__qualname__", None) or repr(fn)


def definition_of(fn: Callable[..., Any]) -> tuple[int | None, bytes]:
    """Its number and pickle; no number for what must travel with each call, because it may change."""
    known = _known.get(fn) if type(fn) in _BY_NAME else None
    return known or _define(fn)


def _define(fn: Callable[..., Any]) -> tuple[int | None, bytes]:
    if not callable(fn):
        raise TypeError(f"run_sync takes a function, not {fn!r}")
    pickled = dumps(fn, "the function", fn)
    if not _is_of_a_module(fn):
        return None, pickled
    known = _known[fn] = (next(_numbers), pickled)
    return known


def _is_of_a_module(fn: Callable[..., Any]) -> bool:
    if getattr(fn, "__module__", None) == "__main__":
        return False
    if type(fn) is types.FunctionType:
        return "<locals>" not in fn.__qualname__ and fn.__name__ != "<lambda>"
    if type(fn) is types.BuiltinFunctionType:
        owner = getattr(fn, "__self__", None)  # a bound method of a value has that value here
        return owner is None or isinstance(owner, types.ModuleType)
    return type(fn) is type


def dumps(value: object, what: str, fn: Callable[..., Any], large: Large | None = None) -> bytes:
    """Its pickle, by name or by value; what is large in it goes to `large`, if given.

    Raises:
        TypeError: it has none; says what cannot be sent, and what to do.
    """
    failure: Exception | None = None
    pickled = b""
    try:
        pickled = pickle.dumps(value, 5) if large is None else dumps_views(value, large)
        if b"__main__" not in pickled:
            return pickled
    except Exception as error:
        if large is None and "memoryview" in str(error):
            return _dumps_with_views(value, what, fn)
        failure = error
    by_value = _cloudpickle_dumps(value, f"{what} {name_of(fn)}", large)
    if by_value is not None:
        return by_value
    if failure is None and not _names_main(pickled):
        return pickled
    why = str(failure) if failure else "it is or holds something of __main__, which workers do not import"
    raise TypeError(
        f"{what} {name_of(fn)} cannot be sent to a worker: {why}. Either move it to the top level of a module "
        "that can be imported, or install trio-folk[closures] so that it travels by value."
    ) from failure


def _dumps_with_views(value: object, what: str, fn: Callable[..., Any]) -> bytes:
    try:
        return dumps_views(value)
    except Exception as error:
        raise TypeError(f"{what} {name_of(fn)} cannot be sent to a worker: {error}") from error


def _names_main(pickled: bytes) -> bool:
    """Whether a class or function of ``__main__`` is named in there, rather than the word in some text.

    Read from the opcodes: to load it here would run whatever its classes do when they are rebuilt.
    """
    memo: list[object] = []
    below: object = None  # what was pushed before the last value
    last: object = None
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "MEMOIZE":
            memo.append(last)
        elif opcode.name == "STACK_GLOBAL":
            if below == "__main__":
                return True
            below, last = None, None
        elif opcode.name != "FRAME":
            below, last = last, memo[int(argument or 0)] if opcode.name in _MEMO_GETS else argument
    return False


def _cloudpickle_dumps(value: object, what: str, large: Large | None) -> bytes | None:
    try:
        import cloudpickle
    except ImportError:
        return None
    if large is not None:
        large.restart()
    try:
        pickled: bytes = cloudpickle.dumps(value, 5, None if large is None else large.take)
    except Exception as error:
        raise TypeError(f"{what} cannot be sent to a worker, not even by value: {error}") from error
    return pickled


def _unpickled(pickled: Any) -> Exception | None:
    if not isinstance(pickled, bytes):
        return None
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None  # told as text then: its class cannot be imported, or cannot be rebuilt, here
    return error if isinstance(error, Exception) else None


def _may_travel(error: BaseException) -> bool:
    """Not trio's errors nor ours: a remote TooSlowError must not be mistaken for the caller's own."""
    if isinstance(error, BaseExceptionGroup):
        return all(_may_travel(each) for each in error.exceptions)
    bases = type(error).__mro__
    return not isinstance(error, FolkError) and all(
        base.__module__.partition(".")[0] != "trio" for base in bases
    )

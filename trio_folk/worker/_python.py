"""The feature ``python``: functions told once by number, called with pickled arguments.

A function that is pickled into every call is also unpickled in every call. So a function of a module is
defined once (``folk.define [number, bin]``) and called by its number (``folk.call [function, arguments]``).

Invariants
    1. Nothing is unpickled before it is used; what failed to unpickle is not tried again under its number.
    2. An exception travels as itself only if its pickle was loaded again here.

Trust: a worker obeys whoever holds its task channel, as any program obeys its parent.

Knows pickle. Does not know descriptors, trio, or what the functions are for.
"""

from __future__ import annotations

from types import CoroutineType

from .._errors import ProtocolError
from ._call import Call
from ._failures import INVALID_PARAMS, METHOD_FAILED, Refused, describe, error_map, message_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from typing import Any

    from .._wire import Notify
    from ._actor_loans import Loans
    from ._buffers import Buffers

__all__ = ["DEFINE", "Functions"]

DEFINE = "folk.define"

_FORM = "folk.call carries [number or bin, bin], and perhaps a loan"
_LIGHT = frozenset({bool, float, int, str, type(None)})  # results with nothing large in them
_SMALL = 65536  # bytes of a result that are not worth a look
_REMEDY = (
    "it must be importable in the worker, which has its parent's sys.path and working directory "
    "but never imports the parent's __main__"
)


class Functions:
    """The functions that one parent has told.

    Args:
        buffers: what is shared with it, if anything.

    Attributes:
        uses: is true while calls have, or had, something that was lent to them: then `settle` before an answer.
    """

    def __init__(self, buffers: Buffers | Loans | None = None) -> None:
        self._buffers = buffers
        self.uses: AbstractSet[int] = frozenset() if buffers is None else buffers.uses
        self._defined: dict[int, bytes] = {}
        self._loaded: dict[int, PythonCall] = {}
        self._failed: dict[int, dict[str, object]] = {}

    def hear(self, message: Notify) -> None:
        """A message of the task channel that is no request.

        Raises:
            ProtocolError: it is one of ours, and does not carry what it should.
        """
        if message.method == DEFINE:
            self.define(message.params)
        elif self._buffers is not None:
            self._buffers.hear(message)

    def settle(self) -> None:
        """A call is about to be answered."""
        if self._buffers is not None:
            self._buffers.settle()

    def define(self, params: Any) -> None:
        """Keep a pickled function under its number; a number told again means the newer function.

        Raises:
            ProtocolError: that is not what ``folk.define`` carries.
        """
        match params:
            case [int(number), bytes(pickled)]:
                self._defined[number] = pickled
                self._loaded.pop(number, None)
                self._failed.pop(number, None)
            case _:
                raise ProtocolError("folk.define carries [number, bin]")

    def call(self, params: Any) -> tuple[PythonCall, tuple[Any, ...], dict[str, Any]]:
        """The function, and its arguments, that these params of ``folk.call`` mean.

        Raises:
            Refused: the function or its arguments cannot be had.
            ProtocolError: they came with a loan that cannot be.
        """
        if type(params) is not list or len(params) != 2 or type(params[1]) is not bytes:
            return self._call_with_loan(params)
        target, pickled = params
        call = self._called(target)
        return call, *_load_arguments(call.name, pickled)

    def _call_with_loan(self, params: Any) -> tuple[PythonCall, tuple[Any, ...], dict[str, Any]]:
        if type(params) is not list or len(params) != 3 or type(params[1]) is not bytes:
            raise Refused(error_map(INVALID_PARAMS, _FORM))
        if self._buffers is None:
            raise Refused(error_map(INVALID_PARAMS, "this worker takes no loans"))
        target, pickled, loan = params
        call = self._called(target)
        return call, *_load_arguments(call.name, pickled, buffers=self._buffers.borrow(loan))

    def _called(self, target: Any) -> PythonCall:
        if type(target) is int:
            return self._loaded.get(target) or self._load_defined(target)
        if type(target) is bytes:
            return _load_function(target, self._buffers)
        raise Refused(error_map(INVALID_PARAMS, _FORM))

    def _load_defined(self, number: int) -> PythonCall:
        failed = self._failed.get(number)
        if failed is not None:
            raise Refused(failed)
        pickled = self._defined.get(number)
        if pickled is None:
            raise Refused(error_map(INVALID_PARAMS, f"no function was defined under the number {number}"))
        try:
            call = self._loaded[number] = _load_function(pickled, self._buffers)
        except Refused as refused:
            self._failed[number] = refused.error
            raise
        return call


class PythonCall(Call):
    """A call whose outcome is pickled; what is large in a result is shared where `buffers` are given."""

    __slots__ = ("_buffers",)

    def __init__(self, name: str, fn: Callable[..., Any], buffers: Buffers | Loans | None = None) -> None:
        super().__init__(name, fn)
        self._buffers = buffers

    def result(self, value: Any) -> Any:
        """Its pickle, with a loan where that is not all.

        Raises:
            Refused: it has none, or is a coroutine.
        """
        kind = type(value)
        if kind is CoroutineType:
            value.close()
            message = (
                f"{self.name} is async, and run_sync takes synchronous functions: make it a method instead"
            )
            raise Refused(error_map(METHOD_FAILED, message, {"type": "TypeError", "traceback": ""}))
        try:
            if kind in _LIGHT or (kind is bytes and len(value) < _SMALL):
                import pickle

                return pickle.dumps(value, 5)
            if self._buffers is not None:
                return self._buffers.pickled(value)
            from ._views import dumps

            return dumps(value)
        except Exception as exc:
            message = f"the result of {self.name} could not be pickled: {message_of(exc)}"
            raise Refused(describe(exc, code=METHOD_FAILED, message=message)) from None

    def error(self, exc: BaseException) -> dict[str, object]:
        """Its error map, with the exception itself where it can travel."""
        error = describe(exc)
        pickled = _pickled(exc)
        if pickled is not None:
            error["data"]["pickle"] = pickled  # type: ignore[index]  # describe() always gives data
        return error


def _load_function(pickled: bytes, buffers: Buffers | Loans | None = None) -> PythonCall:
    import pickle

    try:
        fn: Callable[..., Any] = pickle.loads(pickled)
    except (Exception, SystemExit) as exc:
        what = f"the function could not be imported in the worker ({message_of(exc)}): {_REMEDY}"
        raise Refused(describe(exc, code=METHOD_FAILED, message=what)) from None
    return PythonCall(getattr(fn, "__qualname__", None) or type(fn).__qualname__, fn, buffers)


def _load_arguments(name: str, pickled: bytes, **beside: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    import pickle

    try:
        args, kwargs = pickle.loads(pickled, **beside)
    except (Exception, SystemExit) as exc:
        what = f"the arguments of {name} could not be unpickled in the worker: {message_of(exc)}"
        raise Refused(describe(exc, code=METHOD_FAILED, message=what)) from None
    return args, kwargs


def _pickled(exc: BaseException) -> bytes | None:
    if not isinstance(exc, Exception):
        return None
    import pickle

    try:
        pickled = pickle.dumps(exc, 5)
        again = pickle.loads(pickled)
    except Exception:
        return None  # told as text: its class is local, or its __init__ wants more than its args
    return pickled if type(again) is type(exc) else None

"""Worker: the methods that a worker process offers, under the names that callers use.

Two methods of one name would leave it to the order of imports which of them a caller reaches. So a name is
taken once, and the second claim fails at import, naming both.

Invariants
    1. Nothing but registration happens here: no thread, no descriptor, no import.
    2. ``echo`` is always there, so that any worker can be asked whether it answers.

Knows functions and names. Does not know the wire, trio, or processes.
"""

from __future__ import annotations

import os
from types import MappingProxyType

from ._call import Call

# Importing typing costs ten milliseconds at birth; type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from contextvars import ContextVar
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(fn):
        return fn


__all__ = ["Method", "Worker", "is_async", "ready_params"]

FEATURES = ("python", "cancel", "meta", "stream", "progress", "feed")
_ONE_BY_ONE = ("order", "revoke")
_SHARING = ("buffers",)
_RESERVED = "folk."
_MOST = 65536  # calls at once; the parent refuses to believe more
# inspect.CO_COROUTINE and its like; importing inspect costs more than all the rest
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Method(Call):
    """A function under its public name.

    Attributes:
        raw: whether it gets its params as they came.
        is_async: whether trio runs it.
        streams: whether it gives items one by one.
    """

    __slots__ = ("is_async", "raw", "streams")

    def __init__(self, name: str, fn: Callable[..., Any], raw: bool) -> None:
        super().__init__(name, fn)
        self.raw = raw
        flags = _flags(fn)
        self.is_async = bool(flags & (_COROUTINE | _ASYNC_GENERATOR))
        self.streams = bool(flags & (_GENERATOR | _ASYNC_GENERATOR))


class Worker:
    """A set of named methods, served by ``python -m trio_folk.worker module:object``.

    Args:
        concurrency: how many calls run at once. Above one, or with any async method, trio serves them, and
            synchronous methods run in threads; else they run in the main thread, one after another.

        context: context variables that are set to what the caller passes along under their names, for each call.

    Raises:
        ValueError: the concurrency makes no sense.
    """

    def __init__(self, concurrency: int = 1, *, context: Iterable[ContextVar[Any]] = ()) -> None:
        if type(concurrency) is not int or not 1 <= concurrency <= _MOST:
            raise ValueError(f"concurrency is an integer from 1 to {_MOST}, not {concurrency!r}")
        self._concurrency = concurrency
        self._context = {variable.name: variable for variable in context}
        self._methods: dict[str, Method] = {"echo": Method("echo", echo, raw=True)}
        self._around: Callable[[], AbstractAsyncContextManager[None]] | None = None

    @property
    def concurrency(self) -> int:
        """How many calls run at once."""
        return self._concurrency

    @property
    def methods(self) -> Mapping[str, Callable[..., Any]]:
        """The functions by the names that callers use."""
        return MappingProxyType({name: method.fn for name, method in self._methods.items()})

    @property
    def needs_trio(self) -> bool:
        """Whether its calls are served by trio."""
        return self._concurrency > 1 or any(method.is_async for method in self._methods.values())

    @overload
    def method(self, name: F, /) -> F: ...

    @overload
    def method(  # noqa: F811  # ruff does not know our overload
        self, name: str | None = None, *, raw: bool = False
    ) -> Callable[[F], F]: ...

    def method(self, name: Any = None, *, raw: bool = False) -> Any:  # noqa: F811
        """Offer a function to callers; as ``@worker.method`` or ``@worker.method("name", raw=True)``.

        A map of params becomes keyword arguments, an array positional ones, nil none, anything else one. A function
        that yields, asynchronous or not, gives its items to callers of ``pool.stream``, and has no result.

        Args:
            name: the name that callers use; the function's own by default.
            raw: give the function the params as they came, as its one argument.

        Returns:
            The function itself.

        Raises:
            ValueError: the name is taken, reserved or empty.
            TypeError: what was decorated is not a function.
        """
        if name is None or isinstance(name, str):
            return lambda fn: self._register(fn, name, raw)
        return self._register(name, None, raw)

    def _register(self, fn: F, name: str | None, raw: bool) -> F:
        if not callable(fn):
            raise TypeError(f"a method is a function, not {fn!r}")
        if name is None:
            name = getattr(fn, "__name__", "")
        if not name or name == "<lambda>":
            raise ValueError(f'{fn!r} needs a name to be called by: @worker.method("name")')
        if name.startswith(_RESERVED):
            raise ValueError(f"{name!r}: names that begin with {_RESERVED!r} belong to the protocol")
        taken = self._methods.get(name)
        if taken is not None:
            raise ValueError(f"two methods are called {name!r}: {_where(taken.fn)} and {_where(fn)}")
        self._methods[name] = Method(name, fn, raw)
        return fn

    def _serve_around(self, name: str, service: Any) -> None:
        """Offer ``service.serve`` as a stream of asynchronous items, with ``service.around()`` around all calls."""
        self._methods[name] = method = Method(name, service.serve, raw=True)
        method.is_async = method.streams = True
        self._around = service.around

    def __repr__(self) -> str:
        return f"<Worker concurrency={self._concurrency}, methods: {', '.join(sorted(self._methods))}>"


def ready_params(worker: Worker, *, in_process: bool = False, shares: bool = False) -> dict[str, object]:
    """What ``control.ready`` says of this worker. In the parent's own process it has no thread to give calls back.

    Args:
        in_process: it runs there.
        shares: it takes large buffers through shared memory.
    """
    ordered = worker.concurrency == 1 and not in_process
    features = [*FEATURES, *(_ONE_BY_ONE if ordered else ()), *(_SHARING if shares else ())]
    folk = {"v": 1, "features": features, "concurrency": worker.concurrency}
    return {"pid": os.getpid(), "folk": folk}


def echo(params: object) -> object:
    """The params, as they came."""
    return params


def is_async(fn: Any) -> bool:
    """Whether a function is a coroutine function, through partial() and objects that are called."""
    return bool(_flags(fn) & _COROUTINE)


def _flags(fn: Any) -> int:
    """What kind of function it is, also through partial() and what functools.wraps() wrapped around a generator."""
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    if not hasattr(fn, "__code__"):
        fn = type(fn).__call__  # an object that is called like a function
    code = getattr(fn, "__code__", None)
    flags: int = code.co_flags if code is not None else 0
    wrapped = getattr(fn, "__wrapped__", None)
    if wrapped is not None and not flags & _COROUTINE:
        flags |= _flags(wrapped) & (_GENERATOR | _ASYNC_GENERATOR)
    return flags


def _where(fn: Any) -> str:
    name = f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', repr(fn))}"
    code = getattr(fn, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name

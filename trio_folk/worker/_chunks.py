"""A chunk: several items of a map in one call, each with an outcome of its own.

A call costs fifty times what a tiny item costs, so a map sends many items at once. What must not come with that:
one bad item failing its neighbours, a slow one holding them, or a cancellation that waits for all.

Invariants
    1. Nothing that happens to one item, from its arguments to its result, changes what another one gets.
    2. At least one item is run; those that do not fit into the time or the reply are not started, and go back.
    3. Between two items a cancellation is noticed.

Light values (numbers, None) travel in the pickle of the whole; each other value in a pickle of its own, for what
cannot be pickled must fail alone, and what two items share here would be shared there.

Knows calls and pickle. Does not know maps, loops or frames.
"""

from __future__ import annotations

from time import perf_counter

from ._current import CallCancelled, current_call
from ._failures import METHOD_FAILED, Refused, describe, error_map, message_of
from ._python import PythonCall, _load_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["LIGHT", "run_chunk"]

LIGHT: frozenset[type] = frozenset({bool, float, int, type(None)})
"""Types whose values always pickle and cannot be changed; of integers only those of a machine word."""

_WORD = 1 << 63
_kept: dict[bytes, PythonCall | Refused] = {}  # functions of modules: as many as the parent's programs name


def run_chunk(
    definition: bytes,
    keep: bool,
    entries: list[Any],
    seconds: float,
    room: int,
    most: int,
    stop: bool,
    fatal: bool,
) -> tuple[float, list[Any], dict[int, dict[str, Any]]]:
    """Run a function over items, and say what became of each.

    Args:
        definition: the function's pickle.
        keep: it is the same function whenever this pickle comes.
        entries: each item's arguments: a tuple of light values, or the pickle of any other tuple.
        seconds: after so many no further item is started.
        room: after so many bytes of outcomes no further item is started.
        most: bytes that all outcomes may have together.
        stop: start no item after one has failed.
        fatal: a KeyboardInterrupt is the program's, not an item's.

    Returns:
        The seconds it took; for each item that was run its result, light or pickled; and the error maps of those
        that failed, by place.
    """
    began = perf_counter()
    try:
        call = _function(definition, keep)
    except Refused as refused:
        return 0.0, [None] * len(entries), dict.fromkeys(range(len(entries)), refused.error)
    fn, until, checkpoint = call.fn, began + seconds, _checkpoint()
    passing = (CallCancelled, KeyboardInterrupt) if fatal else (CallCancelled,)
    values: list[Any] = []
    failures: dict[int, dict[str, Any]] = {}
    held = 0
    for entry in entries:
        if values:
            checkpoint()  # invariant 3
        error: dict[str, Any] | None = None
        value: Any = None
        try:
            value = fn(*(entry if type(entry) is tuple else _arguments(call.name, entry)))
        except passing:
            raise
        except Refused as refused:
            error = refused.error
        except BaseException as exc:
            error = call.error(exc)
        if (error is None and type(value) not in LIGHT) or (
            type(value) is int and not -_WORD < value < _WORD
        ):
            value, error = _carried(call, value, most - held)
            held += len(value or b"")
        values.append(value)
        if error is not None:
            failures[len(values) - 1] = error
            held += _weight(error)
        if perf_counter() >= until or held >= room or (stop and failures):
            break
    return perf_counter() - began, values, failures


def _function(definition: bytes, keep: bool) -> PythonCall:
    found = _kept.get(definition) if keep else None
    if found is None:
        try:
            found = _load_function(definition)
        except Refused as refused:
            found = refused  # not tried again: whatever it imports would be imported anew for each chunk
        if keep:
            _kept[definition] = found
    if isinstance(found, Refused):
        raise found
    return found


def _checkpoint() -> Callable[[], None]:
    try:
        return current_call().checkpoint
    except RuntimeError:  # whoever runs us is no loop that could be told of a cancellation
        return lambda: None


def _arguments(name: str, pickled: bytes) -> tuple[Any, ...]:
    import pickle

    try:
        args: tuple[Any, ...] = pickle.loads(pickled)
    except (Exception, SystemExit) as exc:
        what = f"the arguments of {name} could not be unpickled in the worker: {message_of(exc)}"
        raise Refused(describe(exc, code=METHOD_FAILED, message=what)) from None
    return args


def _carried(call: PythonCall, value: Any, most: int) -> tuple[bytes | None, dict[str, Any] | None]:
    """Its pickle, or why there is none."""
    try:
        pickled = call.result(value)
    except Refused as refused:
        return None, refused.error
    if len(pickled) <= most:
        return pickled, None
    message = (
        f"the result of {call.name} is too large: {len(pickled):,} bytes, and {max(most, 0):,} are left in the "
        "reply; return a path instead of the content, raise max_frame of the runtime, or map with chunk=1"
    )
    return None, error_map(
        METHOD_FAILED, message, {"type": "trio_folk._errors.FrameTooLarge", "traceback": ""}
    )


def _weight(error: dict[str, Any]) -> int:
    """About how many bytes an error map has."""
    data = error.get("data") or {}
    return len(error["message"]) + len(data.get("traceback", "")) + len(data.get("pickle", b""))

"""MessagePack, with our settings, and errors that name the culprit.

msgpack says "can not serialize 'set' object" of a value of a thousand parts, and says it as TypeError,
ValueError or OverflowError. Here it is one TypeError that says where in the value the trouble sits.

Invariants
    1. A Packer is never used by two at once: packing may run `__del__` or `items()` of the value's own
       classes, and those may pack too or let another thread run.
    2. Unpacking allocates in proportion to the payload, whatever its headers claim.
    3. No Packer that once held a large value is kept: it never gives its buffer back.

Knows msgpack. Does not know frames or messages.
"""

from __future__ import annotations

import msgpack

# See messages.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["pack", "unpack"]

_KEEP = 64 * 1024  # bytes; a Packer's buffer grows to its largest value
_LONG = 8192  # elements; room for a thousand nested arrays of these is 64 MiB
_NO_LIMIT = -1  # but the payload's own length
_DEPTH = 500  # msgpack refuses deeper values, at 511
_SCALARS = (bool, float, str, bytes, bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp)

_idle: list[Any] = []  # pop and append are atomic; a new Packer costs 400 ns


def pack(value: object) -> bytes:
    """One value as MessagePack, in its shortest form; strings with surrogate escapes give their bytes back.

    Raises:
        TypeError: something in it has no MessagePack form, is an integer beyond 64 bits, or lies too deep.
    """
    try:
        packer = _idle.pop()
    except IndexError:
        packer = msgpack.Packer(unicode_errors="surrogateescape")
    try:
        packed: bytes = packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(_complaint(value, error)) from None
    if len(packed) < _KEEP:
        _idle.append(packer)
    return packed


def unpack(payload: bytes | bytearray | memoryview, longest_array: int = _LONG) -> object:
    """The one value in `payload`; whatever is wrong with it raises whatever msgpack raises.

    Other limits are msgpack's own, taken from the payload's length: it refuses nothing that ours let pass.
    """
    try:
        return msgpack.unpackb(
            payload,  # raw=False and use_list=True are its defaults; each word said costs 30 ns a message
            strict_map_key=False,
            unicode_errors="surrogateescape",
            max_array_len=longest_array,
        )
    except ValueError:
        if longest_array == _NO_LIMIT:
            raise
    # msgpack makes room for as many elements as an array's header claims (at least up to 1.2.1), and headers
    # nest: 16 MiB of them would claim 128 GiB. Skipping makes room for nothing, and raises if one is missing.
    walker = msgpack.Unpacker(max_buffer_size=len(payload))
    walker.feed(payload)
    walker.skip()
    return unpack(payload, _NO_LIMIT)


def _complaint(value: object, error: Exception) -> str:
    """Where in `value` the trouble sits and what it is."""
    todo: list[tuple[object, str, int]] = [(value, "", 0)]
    while todo:
        item, path, depth = todo.pop()
        trouble = _trouble(item) if depth <= _DEPTH else f"a value nested deeper than {_DEPTH} levels"
        if trouble is not None:
            return f"{trouble} cannot be encoded" + (f", at value{path[:80]}" if path else "")
        if isinstance(item, dict):
            todo += [(key, f"{path}.keys()", depth + 1) for key in item]
            todo += [(part, f"{path}[{key!r:.40}]", depth + 1) for key, part in item.items()]
        elif isinstance(item, list | tuple) and not isinstance(item, _SCALARS):
            todo += [(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(item)]
    return f"this value cannot be encoded: {error}"


def _trouble(item: object) -> str | None:
    """What is wrong with `item` itself, its parts left aside."""
    if isinstance(item, int) and not -(2**63) <= item < 2**64:
        return f"an integer of {item.bit_length()} bits (the most are 64)"
    if isinstance(item, str):
        try:
            item.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return "a str with a lone surrogate"
        return None
    if item is None or isinstance(item, (int, dict, list, tuple, *_SCALARS)):
        return None
    kind = type(item)
    return "a " + (
        kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    )

"""Messages to frames: a length in four bytes, then one MessagePack array.

A frame that is refused halfway through a write poisons its stream. So a frame is built whole and measured
before its first byte leaves; what raises here has sent nothing.

Knows messages and bytes. Does not know who reads them.
"""

from __future__ import annotations

from struct import Struct

from .limits import MAX_FRAME, too_large
from .packing import pack

__all__ = ["encode_notify", "encode_request", "encode_response"]

_as_uint32 = Struct(">I").pack


def encode_request(msgid: int, method: str, packed_params: bytes, limit: int = MAX_FRAME) -> bytes:
    """The frame of a Request whose params were packed before, so that a bad value never reaches a slot.

    Raises:
        FrameTooLarge: the payload is longer than `limit`.
    """
    head = pack((0, msgid, method))
    length = len(head) + len(packed_params)
    if length > limit:
        raise too_large(length, limit)
    return b"".join((_as_uint32(length), b"\x94", head[1:], packed_params))  # four elements, not three


def encode_response(msgid: int, error: object, result: object, limit: int = MAX_FRAME) -> bytes:
    """The frame of a Response: on success `error` is None, on failure `result` is.

    Raises:
        TypeError: the error or the result cannot be encoded.
        FrameTooLarge: the payload is longer than `limit`.
    """
    try:
        payload = pack((1, msgid, error, result))
    except TypeError:
        pack(error)  # one of these raises, naming the place in the value and not in our array
        pack(result)
        raise
    return _prefix(len(payload), limit) + payload


def encode_notify(method: str, params: object, limit: int = MAX_FRAME) -> bytes:
    """The frame of a Notify.

    Raises:
        TypeError: the params cannot be encoded.
        FrameTooLarge: the payload is longer than `limit`.
    """
    payload = b"\x93\x02" + pack(method) + pack(params)
    return _prefix(len(payload), limit) + payload


def _prefix(length: int, limit: int) -> bytes:
    if length > limit:
        raise too_large(length, limit)
    return _as_uint32(length)

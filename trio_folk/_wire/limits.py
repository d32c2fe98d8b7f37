"""How long a frame may be, and the one sentence that says so when it is longer.

A length prefix is a promise made by a stranger: four bytes can claim four gigabytes. Both directions ask
here first, so that a frame too long is refused before it is sent or stored, in the same words.

Knows numbers. Does not know what is in a frame.
"""

from __future__ import annotations

from .._errors import FrameTooLarge

__all__ = ["MAX_FRAME", "too_large"]

MAX_FRAME = 16 * 1024 * 1024  # bytes of payload, inclusive; Folk's own limit on both sides

_WAY_OUT = "raise max_frame on both sides, or send a path to the data instead of the data"


def too_large(length: int, limit: int) -> FrameTooLarge:
    """The error for a frame of `length` bytes where `limit` are allowed."""
    return FrameTooLarge(f"a frame of {length} bytes is over the limit of {limit}", hint=_WAY_OUT)

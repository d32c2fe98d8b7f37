"""The wire: bytes to messages and back, exactly as docs/protocol.md says it.

A byte out of place in a stream of frames makes every later byte mean something else, and one caller then
reads another caller's reply. So one room holds the whole grammar, and refuses whatever is not in it.

Invariants
    1. However a stream is cut into pieces, it decodes to the same messages.
    2. No input raises anything but ProtocolError, and memory grows only with bytes that came.
    3. What fails to encode fails before anything was sent.

Knows bytes. Does not know sockets, trio, clocks, processes, or what a method does.
Picture: docs/design/wire.md
"""

from __future__ import annotations

from .decoder import MessageDecoder
from .encoding import encode_notify, encode_request, encode_response
from .limits import MAX_FRAME
from .messages import Message, Notify, Request, Response, next_msgid
from .packing import pack

__all__ = [
    "MAX_FRAME",
    "Message",
    "MessageDecoder",
    "Notify",
    "Request",
    "Response",
    "encode_notify",
    "encode_request",
    "encode_response",
    "next_msgid",
    "pack",
]

"""Bytes to messages, however they were cut into pieces, until the first byte that is wrong.

A decoder that skips a bad frame and goes on hands a caller something that was never said. Ours stops for
good: the messages before the bad frame are returned, the error follows, and every later feed raises it.

Invariants
    1. Any split of a stream gives the same messages, then the same error.
    2. Nothing but ProtocolError is raised, whatever comes.
    3. It holds fewer bytes than were fed since the last whole frame; a length is checked when its fourth
       byte arrives, and nothing is allocated for what it claims.
    4. After an error no byte is kept and none is looked at.

Knows frames. Does not know where the bytes come from, or what an answer is to.
"""

from __future__ import annotations

from struct import Struct

from .._errors import InvalidFrame, ProtocolError
from .limits import MAX_FRAME, too_large
from .messages import Message, message_from
from .packing import unpack

__all__ = ["MessageDecoder"]

_PREFIX = 4
_SMALL = 4096  # bytes; below, a copy costs a third of a view
_length_at = Struct(">I").unpack_from


class MessageDecoder:
    """Turns a stream of bytes into messages.

    Args:
        limit: the longest payload allowed, inclusive.
    """

    __slots__ = ("_error", "_held", "_limit", "_missing")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._held = bytearray()  # the beginning of a frame whose end has not come
        self._missing = _PREFIX  # how long _held must be before it is worth a look
        self._error: ProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many bytes are held of a frame that is not finished."""
        return len(self._held)

    @property
    def clean(self) -> bool:
        """Whether nothing is held and nothing was wrong: the stream is between two frames."""
        return not self._held and self._error is None

    @property
    def error(self) -> ProtocolError | None:
        """What the next feed() or close() will raise, or None; known without waiting for either."""
        return self._error

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that `data` completes, in order.

        Messages before a bad frame are never lost: they are returned, and the error is raised by the next
        feed() or close(), and shown by `error` at once. With none before it, it is raised here.

        Args:
            data: the next bytes; nothing of it is kept but a copy of an unfinished frame.

        Raises:
            FrameTooLarge: a length over the limit.
            InvalidFrame: anything else that is not the protocol.
        """
        if self._error is not None:
            raise _fresh(self._error)
        held = self._held
        if held:
            held += data
            if len(held) < self._missing:
                return []
            data = held
        elif len(data) > _PREFIX:
            # Nearly every read is one whole frame; it is decoded where it lies.
            (length,) = _length_at(data)
            if length == len(data) - _PREFIX <= self._limit:
                payload = data[_PREFIX:] if length < _SMALL else memoryview(data)[_PREFIX:]
                try:
                    return [message_from(unpack(payload))]
                except Exception:
                    return self._drain(data)  # which says what is wrong with it
        return self._drain(data)

    def close(self) -> None:
        """Says that no more bytes will come.

        Raises:
            InvalidFrame: a frame had begun.
            ProtocolError: an error was still to be raised.
        """
        if self._error is None and self._held:
            self._stop(InvalidFrame(f"the stream ended inside a frame, after {len(self._held)} of its bytes"))
        if self._error is not None:
            raise _fresh(self._error)

    def _drain(self, data: bytes | bytearray | memoryview) -> list[Message]:
        messages: list[Message] = []
        start = 0
        with memoryview(data) as view:
            while self._error is None:
                try:
                    payload = self._payload_at(view, start)
                    if payload is None:
                        break
                    messages.append(_parse(payload))
                    start += _PREFIX + len(payload)
                except ProtocolError as error:
                    self._stop(error)
            if self._error is None and (start or data is not self._held):
                self._held = bytearray(view[start:])
        if self._error is not None and not messages:
            raise _fresh(self._error)
        return messages

    def _payload_at(self, view: memoryview, start: int) -> memoryview | None:
        """The payload of the frame that begins at `start`, or None while it is unfinished."""
        have = len(view) - start
        self._missing = _PREFIX
        if have < _PREFIX:
            return None
        (length,) = _length_at(view, start)
        if length > self._limit:
            raise too_large(length, self._limit)
        if length == 0:
            raise InvalidFrame("a frame of length zero")
        self._missing = end = _PREFIX + length
        return view[start + _PREFIX : start + end] if have >= end else None

    def _stop(self, error: ProtocolError) -> None:
        self._error = _fresh(error)
        self._held = bytearray()


def _fresh(error: ProtocolError) -> ProtocolError:
    # Without traceback and context: those would keep the payload alive, and grow each time it is raised.
    return type(error)(error.message, hint=error.hint)


def _parse(payload: bytes | bytearray | memoryview) -> Message:
    try:
        value = unpack(payload)
    except Exception as error:
        # Cut short, surplus bytes, unknown byte, too deep, unhashable key, bad timestamp: each raises another
        # class. Not its repr: ExtraData's holds the whole payload.
        reason = f"{type(error).__name__} {error}"[:200]
        raise InvalidFrame(f"a payload that is not one MessagePack value: {reason}") from None
    return message_from(value)

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
_EMPTY = "a frame of length zero"
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
        start, total = 0, len(data)
        with memoryview(data) as view:
            # Written out, for many small frames come in one read: a function for each would cost as much as msgpack.
            while True:
                if total - start < _PREFIX:
                    self._missing = _PREFIX
                    break
                (length,) = _length_at(view, start)
                end = start + _PREFIX + length
                if not 0 < length <= self._limit:
                    self._stop(too_large(length, self._limit) if length else InvalidFrame(_EMPTY))
                    break
                if end > total:
                    self._missing = end - start
                    break
                payload = view[start + _PREFIX : end]
                try:
                    messages.append(message_from(unpack(payload)))
                except Exception:
                    self._stop(_trouble_with(payload))
                    break
                start = end
            if self._error is None and (start or data is not self._held):
                self._held = bytearray(view[start:])
        if self._error is not None and not messages:
            raise _fresh(self._error)
        return messages

    def _stop(self, error: ProtocolError) -> None:
        self._error = _fresh(error)
        self._held = bytearray()


def _fresh(error: ProtocolError) -> ProtocolError:
    # Without traceback and context: those would keep the payload alive, and grow each time it is raised.
    return type(error)(error.message, hint=error.hint)


def _trouble_with(payload: bytes | bytearray | memoryview) -> ProtocolError:
    """Why it is no message."""
    try:
        value = unpack(payload)
    except Exception as error:
        # Cut short, surplus bytes, unknown byte, too deep, unhashable key, bad timestamp: each raises another
        # class. Not its repr: ExtraData's holds the whole payload.
        reason = f"{type(error).__name__} {error}"[:200]
        return InvalidFrame(f"a payload that is not one MessagePack value: {reason}")
    try:
        message_from(value)
    except ProtocolError as error:
        return error
    raise AssertionError("a payload that was no message is one at second sight")

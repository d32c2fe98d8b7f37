"""The vectors of docs/protocol.md, and the arrays that are no message: the grammar of the wire, byte by byte."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from trio_folk._errors import InvalidFrame
from trio_folk._wire import (
    Message,
    MessageDecoder,
    Notify,
    Request,
    Response,
    encode_notify,
    encode_request,
    encode_response,
    next_msgid,
    pack,
)

VECTORS: list[tuple[str, Message, bytes]] = [
    (
        "00000016 93 02 ad 636f6e74726f6c2e7265616479 81 a3 706964 2a",
        Notify("control.ready", {"pid": 42}),
        encode_notify("control.ready", {"pid": 42}),
    ),
    (
        "0000000b 94 00 01 a4 6563686f a2 6869",
        Request(1, "echo", "hi"),
        encode_request(1, "echo", pack("hi")),
    ),
    ("00000007 94 01 01 c0 a2 6869", Response(1, None, "hi"), encode_response(1, None, "hi")),
]
each_vector = pytest.mark.parametrize(("text", "message", "encoded"), VECTORS)


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def decode(payload: Any) -> list[Message]:
    """What a frame of `payload` decodes to; `payload` is bytes, or a value to pack."""
    data = payload if isinstance(payload, bytes) else msgpack.packb(payload)
    return MessageDecoder().feed(frame(data))


@each_vector
def test_vector_decodes_to_its_message(text: str, message: Message, encoded: bytes) -> None:
    """The bytes that Folk's own PHP worker writes and reads mean the message beside them."""
    (decoded,) = MessageDecoder().feed(bytes.fromhex(text))
    assert decoded == message
    assert type(decoded) is type(message)


@each_vector
def test_vector_is_what_we_encode(text: str, message: Message, encoded: bytes) -> None:
    """We write those very bytes: compact MessagePack, length in front."""
    assert encoded == bytes.fromhex(text)


@pytest.mark.parametrize(
    "array",
    [
        [],
        [0],
        [0, 1, "echo"],
        [0, 1, "echo", None, None],
        [1, 1, None],
        [1, 1, None, "hi", None],
        [2, "a"],
        [2, "a", None, None],
        [2, 1, "a", None],
        [3, 1, None, None],
        [-1, 1, None, None],
        [None, 1, None, None],
        ["0", 1, "echo", None],
        [[], 1, None, None],
        [True, 1, None, None],
        [False, 1, "echo", None],
        [1.0, 1, None, None],
    ],
)
def test_array_of_another_shape_is_refused(array: list[object]) -> None:
    """Four, four, three elements and kinds 0, 1, 2; nothing less, nothing more, no bool for a kind."""
    with pytest.raises(InvalidFrame, match=r"no message has kind|begins with a kind"):
        decode(array)


@pytest.mark.parametrize("msgid", [-1, 2**32, 2**64 - 1, True, 1.0, "1", b"1", None, [1]])
@pytest.mark.parametrize("kind", [0, 1])
def test_msgid_is_an_unsigned_32_bit_integer(kind: int, msgid: object) -> None:
    """A msgid of any other kind matches no call, and True would match call 1."""
    with pytest.raises(InvalidFrame, match="msgid"):
        decode([kind, msgid, "echo" if kind == 0 else None, None])


@pytest.mark.parametrize("method", [b"echo", 1, None, ["echo"], {}])
def test_method_is_a_string(method: object) -> None:
    """A method is a str in Request and Notify; bytes are not."""
    with pytest.raises(InvalidFrame, match="method"):
        decode([0, 1, method, None])
    with pytest.raises(InvalidFrame, match="method"):
        decode([2, method, None])


@pytest.mark.parametrize("value", [None, 1, "text", {}, {0: 1, 1: 2, 2: None, 3: None}, 1.5, False])
def test_payload_that_is_no_array_is_refused(value: object) -> None:
    """A payload is one array, whatever else it could be."""
    with pytest.raises(InvalidFrame, match="an array"):
        decode(value)


def test_bytes_after_the_array_are_refused() -> None:
    """A payload is exactly one array: a second value behind it was never said."""
    with pytest.raises(InvalidFrame, match="ExtraData"):
        decode(pack([1, 1, None, None]) + b"\xc0")


@pytest.mark.parametrize(
    "length", [b"\x01", b"\xcc\x01", b"\xcd\x00\x01", b"\xce\x00\x00\x00\x01", b"\xd3" + bytes(7) + b"\x01"]
)
def test_every_width_of_integer_is_read(length: bytes) -> None:
    """Encoders may write 1 in any width, signed or not; it is 1."""
    assert decode(b"\x94\x01" + length + b"\xc0" + length) == [Response(1, None, 1)]


def test_response_with_error_and_result_keeps_both() -> None:
    """Whoever reads it decides that a non-nil error wins; the wire forgets nothing."""
    assert decode([1, 7, {"code": -32603}, "partial"]) == [Response(7, {"code": -32603}, "partial")]


def test_error_may_be_of_any_type() -> None:
    """An error is usually a map, but any value that is not nil is one."""
    assert decode([1, 7, "broken", None]) == [Response(7, "broken", None)]


def test_msgids_start_at_one_and_wrap_to_one() -> None:
    """Zero is never a msgid of ours, and the counter stays within 32 bits."""
    assert next_msgid(0) == 1
    assert next_msgid(1) == 2
    assert next_msgid(2**32 - 2) == 2**32 - 1
    assert next_msgid(2**32 - 1) == 1
    assert decode([1, 2**32 - 1, None, None]) == [Response(2**32 - 1, None, None)]

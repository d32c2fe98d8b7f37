"""What may stand in params, results and errors: PHP's habits, what cannot be packed, and what cannot be unpacked."""

from __future__ import annotations

import datetime
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_folk._errors import InvalidFrame
from trio_folk._wire import MessageDecoder, Response, encode_notify, encode_request, encode_response, pack

ANY_TEXT = st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | ANY_TEXT
    | st.binary(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(ANY_TEXT | st.integers(0, 9), part, max_size=4),
    max_leaves=12,
)


def result_of(packed_result: bytes) -> Any:
    """What a Response whose result is `packed_result` decodes to."""
    payload = b"\x94\x01\x01\xc0" + packed_result
    (message,) = MessageDecoder().feed(len(payload).to_bytes(4, "big") + payload)
    assert isinstance(message, Response)
    return message.result


@given(VALUES)
def test_value_survives_the_wire(value: object) -> None:
    """What goes in comes out, with its types, through pack and through each message."""
    assert result_of(pack(value)) == value
    stream = (
        encode_request(1, "m", pack(value)) + encode_response(1, value, value) + encode_notify("m", value)
    )
    request, response, notify = MessageDecoder().feed(stream)
    assert request == (1, "m", value)
    assert response == (1, value, value)
    assert notify == ("m", value)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\x80" * 40])
def test_binary_in_a_string_comes_back_as_the_same_bytes(raw: bytes) -> None:
    """PHP packs binary as str: it arrives with surrogate escapes, and leaves as the bytes that came."""
    packed = msgpack.packb(raw, use_bin_type=False)
    text = result_of(packed)
    assert isinstance(text, str)
    assert text.encode("utf-8", "surrogateescape") == raw
    assert msgpack.unpackb(pack(text), raw=True) == raw


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        (b"\x90", []),
        (b"\x81\x05\xa1a", {5: "a"}),
        (b"\x81\xc0\x01", {None: 1}),
        (b"\xc4\x02\xff\x00", b"\xff\x00"),
        (b"\xca\x3f\xc0\x00\x00", 1.5),
        (b"\xcb\x3f\xf8" + bytes(6), 1.5),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd3\x80" + bytes(7), -(2**63)),
        (b"\xd4\x07x", msgpack.ExtType(7, b"x")),
        (b"\xd6\xff\x00\x00\x00\x01", msgpack.Timestamp(1, 0)),
    ],
)
def test_every_type_of_messagepack_is_read(packed: bytes, value: object) -> None:
    """Empty arrays where a map is meant, integer keys, bin, both floats, all widths, extensions."""
    assert result_of(packed) == value


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1",
        b"\xa5abc",
        b"\x92\x01",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\xd5\xff\x00\x00",
        b"\xd7\xff" + b"\xff" * 8,
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x91" * 100_000,
        b"\x91" * 5_000 + b"\xc0",
        b"\x81\x01" * 5_000 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"",
    ],
)
def test_what_is_not_a_value_is_an_invalid_frame(packed: bytes) -> None:
    """Unknown byte, cut short, unhashable key, bad timestamp, too deep, claims beyond the frame: one error."""
    with pytest.raises(InvalidFrame):
        result_of(packed)


def test_long_arrays_are_read() -> None:
    """An array longer than what is looked through first is whole all the same."""
    value = [list(range(9_000)), list(range(20_000))]
    assert result_of(pack(value)) == value


@pytest.mark.parametrize(
    ("value", "named", "place"),
    [
        ({1, 2}, "a set", ""),
        ({"a": [0, {1}]}, "a set", "at value['a'][1]"),
        ((1, 2**64), "an integer of 65 bits", "at value[1]"),
        ([-(2**63) - 1], "an integer of 64 bits", "at value[0]"),
        ({"day": datetime.date(2026, 11, 20)}, "a datetime.date", "at value['day']"),
        (["\ud800"], "a lone surrogate", "at value[0]"),
        ({frozenset(): 1}, "a frozenset", "at value.keys()"),
        (math.sin, "a builtin_function_or_method", ""),
    ],
)
def test_what_cannot_be_packed_is_named_with_its_place(value: object, named: str, place: str) -> None:
    """The TypeError says what it is and where, not only that something somewhere failed."""
    with pytest.raises(TypeError) as caught:
        pack(value)
    assert place in str(caught.value)
    assert named.split()[-1] in str(caught.value)
    with pytest.raises(TypeError) as caught:
        encode_response(1, None, value)
    assert place in str(caught.value)


def test_value_that_contains_itself_is_a_type_error() -> None:
    """Neither a hang nor a RecursionError."""
    knot: list[object] = []
    knot.append(knot)
    with pytest.raises(TypeError, match="nested deeper than"):
        pack(knot)


def test_packing_goes_on_after_a_failure() -> None:
    """A value refused leaves nothing behind in what is packed next."""
    before = pack([1, "a"])
    for _ in range(3):
        with pytest.raises(TypeError):
            pack([1, "a", {3}])
    assert pack([1, "a"]) == before


def test_packing_within_packing_is_kept_apart() -> None:
    """A value whose class packs something of its own while it is packed spoils neither."""

    class Telling(dict[str, object]):
        def items(self) -> Any:
            assert pack([2, 3]) == b"\x92\x02\x03"
            return super().items()

    value = [1, Telling(a=1), 4]
    assert result_of(pack(value)) == value

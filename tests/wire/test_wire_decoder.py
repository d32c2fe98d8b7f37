"""The stream: any split decodes the same, limits hold to the byte, and after an error nothing more is said."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_folk._errors import FrameTooLarge, InvalidFrame, ProtocolError
from trio_folk._wire import (
    MAX_FRAME,
    Message,
    MessageDecoder,
    Notify,
    Response,
    encode_notify,
    encode_request,
    encode_response,
    pack,
)

GOOD = encode_response(1, None, "hi")
REPLY = Response(1, None, "hi")
BAD = {
    "zero": bytes(4),
    "too long": (MAX_FRAME + 1).to_bytes(4, "big"),
    "not msgpack": b"\x00\x00\x00\x01\xc1",
    "no message": b"\x00\x00\x00\x02\x91\x09",
    "long and broken": (10_000).to_bytes(4, "big") + b"\xc1" * 10_000,
}
each_bad_frame = pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())

FRAMES = st.one_of(
    st.builds(encode_response, st.integers(0, 2**32 - 1), st.none() | st.text(), st.binary(max_size=300)),
    st.builds(encode_request, st.integers(0, 2**32 - 1), st.text(), st.lists(st.integers(0, 9)).map(pack)),
    st.builds(encode_notify, st.text(), st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=3)),
)


def outcome(chunks: list[bytes], limit: int = MAX_FRAME) -> tuple[list[Message], type[Exception] | None]:
    """All messages that the chunks decode to, and the class of the error they end in."""
    decoder = MessageDecoder(limit)
    messages: list[Message] = []
    try:
        for chunk in chunks:
            messages += decoder.feed(chunk)
        decoder.close()
    except ProtocolError as error:
        return messages, type(error)
    return messages, None


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream cut at these places, empty pieces included."""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_split_of_a_valid_stream_decodes_the_same(frames: list[bytes], cuts: list[int]) -> None:
    """Reads end where the kernel likes; the messages do not depend on it."""  # invariant 1
    stream = b"".join(frames)
    one_by_one = [message for frame in frames for message in MessageDecoder().feed(frame)]
    assert len(one_by_one) == len(frames)
    assert outcome([stream]) == outcome(split(stream, cuts)) == (one_by_one, None)


@given(
    st.lists(FRAMES | st.sampled_from(sorted(BAD.values())) | st.binary(max_size=12), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_any_split_of_any_stream_ends_the_same(pieces: list[bytes], cuts: list[int]) -> None:
    """Bad streams too: the same messages, then the same error, however it was cut."""  # invariants 1, 2
    stream = b"".join(pieces)
    assert outcome([stream]) == outcome(split(stream, cuts)) == outcome([bytes([byte]) for byte in stream])


@given(st.binary(max_size=200), st.booleans())
@example(b"\x94\x01\x01\xc0\xd7\xff" + b"\xff" * 8, True)
@example(b"\x94\x01\x01\xc0\x81\x90\x01", True)
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes, framed: bool) -> None:
    """Whatever a worker writes, its reader has one class of error to catch."""  # invariant 2
    stream = len(data).to_bytes(4, "big") + data if framed else data
    outcome([stream])
    outcome([bytes([byte]) for byte in stream])


@given(st.binary(max_size=60))
def test_arbitrary_params_within_a_message_raise_nothing_but_protocol_errors(data: bytes) -> None:
    """The same, past the checks of the array's head."""  # invariant 2
    payload = b"\x94\x01\x01\xc0" + data
    outcome([len(payload).to_bytes(4, "big") + payload])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_read_and_none_is_kept(kind: Any) -> None:
    """The caller may reuse its receive buffer at once, finished frame or not."""
    decoder = MessageDecoder()
    source = bytearray(GOOD + GOOD[:6])
    assert decoder.feed(kind(source)) == [REPLY]
    source[:] = b"\xff" * len(source)
    source += b"resized: no view of it is held"
    assert decoder.feed(kind(GOOD[6:])) == [REPLY]


def test_buffer_of_a_bad_frame_is_not_kept() -> None:
    """An error keeps no view of the caller's buffer either."""
    decoder = MessageDecoder()
    source = bytearray(BAD["long and broken"])
    with pytest.raises(InvalidFrame):
        decoder.feed(source)
    source += b"resized"
    assert decoder.buffered == 0


def test_several_frames_in_one_read_come_in_order() -> None:
    """Workers batch their replies; each is its own message."""
    stream = b"".join(encode_response(n, None, n) for n in range(50))
    assert MessageDecoder().feed(stream) == [Response(n, None, n) for n in range(50)]


def test_buffered_tells_what_is_held() -> None:
    """Zero on a frame boundary, and the number of bytes of the frame that has begun otherwise."""
    decoder = MessageDecoder()
    assert decoder.buffered == 0
    assert decoder.feed(b"") == []
    assert decoder.feed(GOOD + GOOD[:5]) == [REPLY]
    assert decoder.buffered == 5
    decoder.feed(GOOD[5:])
    assert decoder.buffered == 0


@pytest.mark.parametrize("limit", [MAX_FRAME, 20])
def test_limit_is_inclusive_both_ways(limit: int) -> None:
    """A payload of exactly the limit passes, encoded and decoded, whole and in pieces."""
    overhead = len(encode_response(1, None, b"x" * limit, limit * 2)) - 4 - limit
    value = b"x" * (limit - overhead)
    frame = encode_response(1, None, value, limit)
    assert len(frame) == 4 + limit
    assert MessageDecoder(limit).feed(frame) == [Response(1, None, value)]
    chunks = [frame[at : at + 65_536] for at in range(0, len(frame), 65_536)]
    assert outcome([frame[:3], frame[3:7], frame[7:]], limit) == ([Response(1, None, value)], None)
    assert outcome(chunks, limit) == ([Response(1, None, value)], None)


@pytest.mark.parametrize("limit", [MAX_FRAME, 20])
def test_one_byte_over_the_limit_is_refused_both_ways(limit: int) -> None:
    """The error names the length, the limit and the way out, on whichever side it shows."""
    overhead = len(encode_response(1, None, b"x" * limit, limit * 2)) - 4 - limit
    value = b"x" * (limit - overhead + 1)
    with pytest.raises(FrameTooLarge) as sending:
        encode_response(1, None, value, limit)
    with pytest.raises(FrameTooLarge) as receiving:
        MessageDecoder(limit).feed((limit + 1).to_bytes(4, "big"))
    for caught in (sending, receiving):
        assert f"{limit + 1} bytes" in str(caught.value)
        assert f"limit of {limit}" in str(caught.value)
        assert "max_frame on both sides" in str(caught.value)
        assert "path" in str(caught.value)
    with pytest.raises(FrameTooLarge):
        encode_request(1, "m", pack(value), limit)
    with pytest.raises(FrameTooLarge):
        encode_notify("method", value, limit)
    with pytest.raises(FrameTooLarge):
        MessageDecoder(limit).feed(encode_response(1, None, value, limit * 2))


def test_zero_length_is_refused() -> None:
    """No message is empty; PHP's reader dies of it."""
    with pytest.raises(InvalidFrame, match="length zero"):
        MessageDecoder().feed(bytes(4))


@each_bad_frame
def test_messages_before_a_bad_frame_are_not_lost(bad: bytes) -> None:
    """They are returned; the error is known at once and raised next time, by feed or by close."""
    for ask in (lambda d: d.feed(GOOD), lambda d: d.feed(b""), lambda d: d.close()):
        decoder = MessageDecoder()
        assert decoder.feed(GOOD + GOOD + bad + GOOD) == [REPLY, REPLY]
        assert isinstance(decoder.error, ProtocolError)
        with pytest.raises(type(decoder.error)):
            ask(decoder)


@each_bad_frame
def test_decoder_says_nothing_more_after_an_error(bad: bytes) -> None:
    """Behind a bad frame no byte means anything, so even good frames are refused, with the same error."""
    decoder = MessageDecoder()
    assert decoder.error is None
    with pytest.raises(ProtocolError) as first:
        decoder.feed(bad)
    assert decoder.buffered == 0
    for _ in range(2):
        with pytest.raises(type(first.value)) as later:
            decoder.feed(GOOD)
        assert str(later.value) == str(first.value)
        assert later.value is not first.value
    with pytest.raises(type(first.value)):
        decoder.close()


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_end_inside_a_frame_is_an_error(cut: int) -> None:
    """EOF on a frame boundary is an orderly end, anywhere else a frame was lost."""
    decoder = MessageDecoder()
    decoder.feed(GOOD)
    decoder.close()
    decoder = MessageDecoder()
    decoder.feed(GOOD[:cut])
    with pytest.raises(InvalidFrame, match="ended inside a frame"):
        decoder.close()
    with pytest.raises(InvalidFrame, match="ended inside a frame"):
        decoder.feed(GOOD[cut:])


def peak_of(data: bytes, error: type[Exception] | None) -> int:
    """The most memory, in bytes, that feeding `data` to a decoder took."""
    decoder = MessageDecoder(2**32)
    tracemalloc.start()
    try:
        if error is None:
            decoder.feed(data)
        else:
            with pytest.raises(error):
                decoder.feed(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_claimed_length_allocates_nothing() -> None:
    """Four bytes that claim four gigabytes cost four bytes, even where the limit would allow them."""  # invariant 3
    assert peak_of(b"\xff\xff\xff\xff", None) < 10_000
    decoder = MessageDecoder()
    decoder.feed(MAX_FRAME.to_bytes(4, "big") + b"\x94")
    assert decoder.buffered == 5


def test_claims_within_a_payload_allocate_in_proportion_to_it() -> None:
    """A thousand nested headers that each claim a million elements do not get room for them."""
    size = 2**20
    headers = (b"\xdd" + (size // 2).to_bytes(4, "big")) * 1000
    payload = headers.ljust(size, b"\xc0")
    assert peak_of(size.to_bytes(4, "big") + payload, InvalidFrame) < 20 * size  # unguarded: 70 to 4000


def test_frame_that_comes_in_crumbs_costs_no_more_than_its_bytes() -> None:
    """Doubling the frame doubles the work: the buffer is never copied per piece."""
    frame = encode_notify("m", b"x" * (4 * 2**20))
    decoder = MessageDecoder()
    tracemalloc.start()
    try:
        for at in range(0, len(frame), 1024):
            messages = decoder.feed(frame[at : at + 1024])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert messages == [Notify("m", b"x" * (4 * 2**20))]
    assert peak < 4 * len(frame)

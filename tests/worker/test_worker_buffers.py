"""Large buffers as a worker sees them: spoken to with the wire and descriptors alone."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from worker_child import Child

from trio_folk import ProtocolError
from trio_folk._wire import encode_notify
from trio_folk.worker._borrower import Borrower
from trio_folk.worker._descriptors import Descriptors
from trio_folk.worker._large import BYTEARRAY, BYTES, THRESHOLD, VIEW, Large, copying, may_be_large
from trio_folk.worker._lender import SMALLEST, Lender
from trio_folk.worker._segments import PAGE, Mapping, Segment, blank, copied

SHARED = {"FOLK_TRANSFER": "auto", "FOLK_MAX_SHARED": str(64 << 20)}
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
SIZE = 4 * PAGE

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create(2)")


def identity(value: Any) -> Any:
    """What the worker is asked to run: importable there, for this file's folder is on its path."""
    return value


def memfd(content: bytes, size: int = SIZE, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, content, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def announce(child: Child, number: int, fd: int, size: int = SIZE) -> None:
    frame = encode_notify("folk.segment", {"segment": number, "size": size})
    socket.send_fds(child.control.sock, [frame], [fd])
    os.close(fd)


def call_with(loan: Any) -> list[Any]:
    """The params of a call with one buffer beside its pickle."""
    arguments = pickle.dumps(((pickle.PickleBuffer(b""),), {}), 5, buffer_callback=lambda _: None)
    return [pickle.dumps(len, 5), arguments, loan]


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(env=SHARED) as made:
        yield made.ready()


# -- the worker's end


@pytest.mark.parametrize(
    "env",
    [{}, {"FOLK_TRANSFER": "auto"}, {**SHARED, "FOLK_TRANSFER": "x"}, {**SHARED, "FOLK_MAX_SHARED": "x"}],
)
def test_the_feature_is_announced_only_to_a_parent_that_takes_part(env: dict[str, str]) -> None:
    """Both variables, and what they may hold."""
    with Child(env=env) as child:
        assert "buffers" not in child.ready().announced["folk"]["features"]
        assert child.error("folk.call", call_with([1, [0, 5, VIEW]]))["code"] == -32602
    with Child(env=SHARED) as child:
        assert "buffers" in child.ready().announced["folk"]["features"]


def test_the_variables_are_not_left_to_what_the_worker_starts() -> None:
    """A grandchild is no worker."""
    with Child(env=SHARED) as child:
        name = pickle.dumps(((("FOLK_TRANSFER",)), {}), 5)
        child.ready()
        assert pickle.loads(child.call("folk.call", [pickle.dumps(os.getenv, 5), name])) is None


@pytest.mark.parametrize("kind", [VIEW, BYTES, BYTEARRAY])
def test_a_function_gets_what_lies_in_a_segment(child: Child, kind: int) -> None:
    """Announced once, lent again and again."""
    announce(child, 1, memfd(b"hello"))
    for _ in range(3):
        assert pickle.loads(child.call("folk.call", call_with([1, [0, 5, kind]]))) == 5


def test_a_call_waits_for_the_announcement_of_its_segment(child: Child) -> None:
    """The channels have no order."""
    msgid = child.request("folk.call", call_with([1, [0, 5, VIEW]]))
    announce(child, 1, memfd(b"hello"))
    response = child.task.receive()
    assert (response.msgid, pickle.loads(response.result)) == (msgid, 5)


@pytest.mark.parametrize(
    "loan", [[1, [0, SIZE + 1, VIEW]], [1, [-1, 5, VIEW]], [1, [0, 5, 3]], [1, [0, 5]], [1], "x", [b"1", []]]
)
def test_a_loan_that_cannot_be_ends_the_worker(child: Child, loan: Any) -> None:
    """As every other breach by its parent."""
    announce(child, 1, memfd(b"hello"))
    child.request("folk.call", call_with(loan))
    assert child.task.receive() is None
    status, _, stderr = child.end()
    assert status == 1
    assert "broke the protocol" in stderr


# -- segments


def test_a_segment_can_neither_shrink_nor_grow() -> None:
    """Nor be given other seals; whoever maps it is safe from its owner."""
    segment = Segment(1, PAGE)
    assert segment.descriptor is not None
    for size in (0, 2 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert not os.get_inheritable(segment.descriptor)
    segment.announced()


def test_what_is_written_is_read_and_cannot_be_changed() -> None:
    """By the other side."""
    segment = Segment(1, PAGE)
    assert segment.descriptor is not None
    mapping = Mapping(segment.descriptor, PAGE)
    segment.announced()
    segment.memory[:5] = b"hello"
    view = mapping.view(lambda: None)
    assert view[:5] == b"hello"
    with pytest.raises(TypeError):
        view[0] = 1


def test_a_use_ends_with_its_last_view() -> None:
    """Whatever was made of it, and in whatever order it dies."""
    ended: list[int] = []
    mapping = mapped()
    view = mapping.view(lambda: ended.append(1))
    other = mapping.view(lambda: ended.append(2))
    part = memoryview(view)[10:20].cast("H")[1:]
    del view
    assert not ended
    del part
    assert ended == [1]
    del mapping
    assert other[:5] == b"hello"
    del other
    assert ended == [1, 2]


def test_a_view_that_a_finalizer_brings_back_is_still_in_use() -> None:
    """Weak references are told before finalizers run: whoever trusted them would overwrite this."""
    ended: list[int] = []
    rescued: list[memoryview] = []

    class Cycle:
        def __init__(self, view: memoryview) -> None:
            self.view, self.me = view, self

        def __del__(self) -> None:
            rescued.append(self.view)

    mapping = mapped()
    Cycle(mapping.view(lambda: ended.append(1)))
    gc.collect()
    assert rescued[0][:5] == b"hello"
    assert not ended
    del mapping
    rescued.clear()
    gc.collect()
    assert ended == [1]


def mapped(content: bytes = b"hello") -> Mapping:
    fd = memfd(content)
    try:
        return Mapping(fd, SIZE)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 5 << 20, (9 << 20) + 3])
@pytest.mark.parametrize("mutable", [False, True])
def test_copies_are_whole_and_of_their_type(size: int, mutable: bool) -> None:
    """Of huge pages or not, in one go or in steps."""
    content = os.urandom(1024) * (size // 1024) + b"x" * (size % 1024)
    value = copied(memoryview(content), mutable)
    assert type(value) is (bytearray if mutable else bytes)
    assert value == content
    value, memory = blank(size, mutable)
    steps = sum(1 for _ in copying(memory, memoryview(content)))
    del memory
    assert value == content
    assert steps == max(size - 1, 0) // (4 << 20)
    if isinstance(value, bytearray):
        value += b"more"


# -- lending and borrowing


def test_a_segment_is_lent_to_one_at_a_time_and_used_again() -> None:
    """The one that was used last, where it is large enough and not far too large."""
    lender = Lender(64 * SMALLEST)
    first, second = lend(lender, 10), lend(lender, 10)
    assert first is not second
    assert lender.take_back(first.number)
    assert not lender.take_back(first.number)
    assert lend(lender, SMALLEST) is first
    large = lend(lender, 20 * SMALLEST)
    lender.take_back(large.number)
    assert lend(lender, 10) is not large
    lender.close()


def test_idle_segments_make_room_and_lent_ones_do_not() -> None:
    """The bound holds for all of them together."""
    lender = Lender(4 * SMALLEST)
    first = lend(lender, SMALLEST)
    assert lender.lend(4 * SMALLEST) is None
    lender.take_back(first.number)
    lend(lender, 4 * SMALLEST)
    assert lender.lend(1) is None
    assert lender.dropped() == [first.number]
    assert lender.lend(5 * SMALLEST) is None
    lender.close()
    assert lender.lend(1) is None


def lend(lender: Lender, size: int) -> Segment:
    segment = lender.lend(size)
    assert segment is not None
    segment.announced()
    return segment


@pytest.mark.parametrize("params", [None, {}, {"segment": 1}, {"segment": "1", "size": SIZE}])
def test_what_announces_no_segment_costs_its_descriptor(params: Any) -> None:
    """It is closed, and nothing is mapped."""
    fd = memfd(b"")
    with pytest.raises(ProtocolError):
        Borrower(SIZE).announce(params, fd)
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize(
    ("size", "told", "seals"),
    [
        (SIZE, SIZE, 0),
        (SIZE, SIZE, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL),
        (SIZE, SIZE + PAGE, SEALS),
        (SIZE, SIZE - 1, SEALS),
        (SIZE, 0, SEALS),
        (64 * SIZE, 64 * SIZE, SEALS),
    ],
)
def test_what_may_not_be_mapped_is_not(size: int, told: int, seals: int) -> None:
    """Unsealed, of another size than told, of no whole pages, or beyond the bound."""
    with pytest.raises(ProtocolError):
        Borrower(2 * SIZE).announce({"segment": 1, "size": told}, memfd(b"", size, seals))


def test_a_segment_in_use_is_not_borrowed_again() -> None:
    """It would be overwritten under its holder; so its owner is lying."""
    borrower = Borrower(SIZE)
    borrower.announce({"segment": 1, "size": SIZE}, memfd(b"hello"))
    held = borrower.borrow((1, [(0, 5, VIEW)]))
    with pytest.raises(ProtocolError, match="in use"):
        borrower.borrow((1, [(0, 5, VIEW)]))
    del held
    assert borrower.over
    assert borrower.sweep() == [1]
    assert borrower.borrow((1, [(0, 5, VIEW)]))[0][0] == b"hello"


def test_descriptors_come_with_their_messages_or_are_closed() -> None:
    """In order; close-on-exec; a message without one is a breach."""
    ours, theirs = socket.socketpair()
    descriptors = Descriptors()
    with ours, theirs, mmap.mmap(-1, PAGE):
        pipes = [*os.pipe()]
        socket.send_fds(ours, [b"ab"], pipes)
        ours.send(b"c")
        received = b""
        while len(received) < 3:
            received += descriptors.receive(theirs, 100)
        assert received == b"abc"
        first = descriptors.claim()
        assert not os.get_inheritable(first)
        descriptors.close()
        with pytest.raises(ProtocolError):
            descriptors.claim()
        os.close(first)
        for fd in pipes:
            os.close(fd)


# -- what is large


def test_small_values_are_not_looked_at_twice() -> None:
    """What most calls are made of."""
    assert not may_be_large((1, "x" * THRESHOLD, None, 2.0, b"x" * (THRESHOLD - 1)))
    for value in (b"x" * THRESHOLD, bytearray(), [], (), {}, memoryview(b"")):
        assert may_be_large((1, value))
    assert may_be_large((), {"x": 1})


@pytest.mark.parametrize(
    ("transfer", "kinds"),
    [
        ("auto", [BYTES, BYTEARRAY, VIEW]),
        ("view", [VIEW, VIEW, VIEW]),
        ("copy", [BYTES, BYTEARRAY, BYTEARRAY]),
    ],
)
def test_each_buffer_has_the_kind_of_its_transfer(transfer: str, kinds: list[int]) -> None:
    """In the order of the pickle; small ones stay in it."""
    large = Large(transfer)
    value = (b"x" * THRESHOLD, bytearray(THRESHOLD), pickle.PickleBuffer(bytearray(THRESHOLD)), b"small")
    pickled = pickle.dumps(large.lift(value), 5, buffer_callback=large.take)
    assert [kind for _, _, kind in large.buffers] == kinds
    assert len(pickled) < 1000
    _, flat = large.loan(7)
    assert flat[0::3] == [0, THRESHOLD, 2 * THRESHOLD]

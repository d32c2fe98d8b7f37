"""Output is read to its end, whatever a worker writes, and other tasks run meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_folk._process import Output, drain_lines, open_process
from trio_folk._process.output import LONGEST_LINE, TAIL_LINES


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe with a non-blocking end to read, and one to write that the test closes."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)


async def drained(pipe: tuple[int, int], *writes: bytes) -> list[str]:
    reader, writer = pipe
    lines: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_lines, reader, lines.append)
        for data in writes:
            assert os.write(writer, data) == len(data)
            await trio.testing.wait_all_tasks_blocked()
        os.close(writer)
    return lines


async def test_lines_come_whole_however_they_were_written(pipe) -> None:
    """Several in one write, one in several, empty ones, and a last one without a newline."""
    assert await drained(pipe, b"a\nb", b"c\n\n", b"d", b"e") == ["a", "bc", "", "de"]


async def test_what_is_not_utf8_is_shown_as_escapes(pipe) -> None:
    """No byte is lost and none raises; a character split over two writes is whole."""
    assert await drained(pipe, b"\xff\xfe", b" gr\xc3", b"\xbcn\n") == ["\\xff\\xfe grün"]


async def test_endless_line_comes_in_pieces_while_it_is_written(pipe) -> None:
    """A line without an end is emitted as it grows, so that memory is bounded."""
    reader, writer = pipe
    lines: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_lines, reader, lines.append)
        os.write(writer, b"x" * 20_000)
        await trio.testing.wait_all_tasks_blocked()
        assert [len(piece) for piece in lines] == [LONGEST_LINE, LONGEST_LINE]
        os.write(writer, b"\nshort\n")
        os.close(writer)
    assert [len(piece) for piece in lines[2:]] == [20_000 - 2 * LONGEST_LINE, 5]


async def test_long_lines_are_not_cut_within_a_character(pipe) -> None:
    """A cut is moved back to the character's beginning."""
    text = "x" + "€" * 15_000
    lines = await drained(pipe, text.encode())
    assert "".join(lines) == text
    assert len(lines) > 1
    assert max(len(line.encode()) for line in lines) <= LONGEST_LINE


@given(
    st.lists(st.sampled_from([b"\n", b"a", b"\x80" * 9_000, "€".encode() * 3_000, b"z" * 8_192]), max_size=12)
)
def test_nothing_is_lost_and_nothing_is_long(parts: list[bytes]) -> None:
    """Whatever is written: the pieces make up the text, and none is longer than the limit."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    data = b"".join(parts)[:60_000]
    os.write(writer, data)
    os.close(writer)
    pieces: list[str] = []
    trio.run(drain_lines, reader, pieces.append)
    os.close(reader)
    assert "".join(pieces) == data.replace(b"\n", b"").decode(errors="backslashreplace")
    assert all(len(piece.replace("\\x80", "?").encode()) <= LONGEST_LINE for piece in pieces)


async def test_worker_that_floods_does_not_block_and_starves_nobody(sh) -> None:
    """32 MiB run through; for every read of at most 64 KiB another task had its turn."""
    turns = lines = 0
    size, text = 32 * 2**20, "a line of sixty-four characters, which is the length of this...\n"

    async def turn() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    def count(line: str) -> None:
        nonlocal lines
        lines += 1

    async with open_process(sh(f"yes '{text.strip()}' | head -c {size}; exit 3")) as process:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            await drain_lines(process.stdout_fd, count)
            assert (await process.wait()).code == 3
            nursery.cancel_scope.cancel()
    assert lines == size // len(text)
    assert turns >= size // 65536


async def test_many_short_lines_of_one_read_let_others_run(pipe) -> None:
    """A slow log handler holds up the others for a few hundred lines, not for a whole read."""
    reader, writer = pipe
    os.write(writer, b"\n" * 60_000)
    os.close(writer)
    turns = since = longest = 0

    async def turn() -> None:
        nonlocal since
        while True:
            await trio.lowlevel.checkpoint()
            since = 0

    def emit(line: str) -> None:
        nonlocal since, longest
        since += 1
        longest = max(longest, since)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        await drain_lines(reader, emit)
        nursery.cancel_scope.cancel()
    assert turns == 0
    assert 0 < longest <= 1_000


async def test_output_is_logged_under_the_workers_id(pipe, caplog) -> None:
    """Standard output at INFO, standard error at WARNING, with the id and the stream in text and record."""
    output = Output("thumbs/3.12")
    other = os.pipe()
    os.set_blocking(other[0], False)
    os.write(pipe[1], b"100% out\n"), os.write(other[1], b"an err\n")
    os.close(pipe[1]), os.close(other[1])
    with caplog.at_level(logging.INFO, "trio_folk.worker"):
        await output.drain_stdout(pipe[0])
        await output.drain_stderr(other[0])
    os.close(other[0])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "[thumbs/3.12 stdout] 100% out"),
        ("WARNING", "[thumbs/3.12 stderr] an err"),
    ]
    assert [(record.worker, record.stream) for record in caplog.records] == [
        ("thumbs/3.12", "stdout"),
        ("thumbs/3.12", "stderr"),
    ]
    assert output.tail == ("an err",)


def test_tail_keeps_the_last_lines_also_when_nothing_is_logged(caplog) -> None:
    """Errors show the last lines of standard error, whatever the level; standard output is not kept."""
    output = Output("pool/0.1")
    with caplog.at_level(logging.CRITICAL, "trio_folk.worker"):
        for number in range(TAIL_LINES + 7):
            output.stderr(f"err {number}")
            output.stdout(f"out {number}")
    assert caplog.records == []
    assert output.tail == tuple(f"err {number}" for number in range(7, TAIL_LINES + 7))

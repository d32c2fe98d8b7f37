"""Chunks as jobs: as many items as fit, and never one more than a frame holds."""

from __future__ import annotations

import threading

import pytest

from trio_folk import FrameTooLarge
from trio_folk._wire import MAX_FRAME
from trio_folk.runtimes._chunks import ROOM, ChunkJob


def job(*items: object, limit: int = MAX_FRAME) -> ChunkJob:
    return ChunkJob(repr, [(item,) for item in items], limit, 1.0, False, False)


def test_a_chunk_is_closed_after_so_many_bytes() -> None:
    """Of arguments; the last of them may go beyond."""
    item = bytes(ROOM // 10)
    assert job(*[item] * 50).count == 10
    assert job(item, bytes(ROOM), item).count == 2


def test_a_chunk_never_outgrows_a_frame() -> None:
    """Whatever its items are: halves are tried until one fits."""
    assert job(*[10**3000] * 200, limit=1 << 16).size < 1 << 16
    assert job(b"x", bytes(60_000), limit=1 << 16).count == 2
    assert job(bytes(10_000), bytes(60_000), limit=1 << 16).count == 1
    with pytest.raises(FrameTooLarge):
        job(bytes(70_000), b"x", limit=1 << 16)


def test_an_item_that_cannot_be_sent_ends_the_chunk_before_it() -> None:
    """It comes first in the next, and is told of there."""
    assert job(1, b"x", threading.Lock(), 2).count == 2
    with pytest.raises(TypeError, match="the arguments of repr cannot be sent"):
        job(threading.Lock(), 2)

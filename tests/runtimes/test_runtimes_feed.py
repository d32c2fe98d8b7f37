"""Our side of a feed: pieces leave when they are wanted, and a worker that wants nonsense breaks the protocol."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_folk import ProtocolError
from trio_folk.abc import Stream
from trio_folk.runtimes._feed import MOST_WANTED, PIECE, Feed
from trio_folk.runtimes._mixed_jobs import MixedStream


async def test_no_piece_leaves_before_it_is_wanted(autojump_clock: trio.testing.MockClock) -> None:
    """Two pieces and a rest: one for each that was asked for; the end takes none."""
    posted: list[Any] = []

    async def post(told: dict[str, object]) -> None:
        posted.append(told)

    feed = Feed()
    feed.begin(post)
    async with trio.open_nursery() as nursery:

        async def give() -> None:
            await feed.give(b"x" * (2 * PIECE + 1))
            await feed.give(b"")

        nursery.start_soon(give)
        await trio.testing.wait_all_tasks_blocked()
        assert posted == []
        feed.want(1)
        await trio.testing.wait_all_tasks_blocked()
        assert [len(told["data"]) for told in posted] == [PIECE]
        feed.want(2)
    assert [len(told.get("data", b"")) for told in posted] == [PIECE, PIECE, 1, 0]
    assert posted[-1] == {"end": True}


@pytest.mark.parametrize("more", [0, -1, MOST_WANTED + 1])
def test_a_worker_cannot_want_that(more: int) -> None:
    """Nothing, less than nothing, or more than a bound would bound."""
    with pytest.raises(ProtocolError, match=r"folk\.want"):
        Feed().want(more)


def test_what_is_wanted_adds_up_to_a_bound() -> None:
    """Asking twice for half of it is asking for all of it."""
    feed = Feed()
    feed.want(MOST_WANTED)
    with pytest.raises(ProtocolError, match=f"{MOST_WANTED} more have not come"):
        feed.want(1)


async def test_a_feed_follows_its_call_to_another_part() -> None:
    """The first part never begins; what was to be given to it is given to the second."""
    given: list[bytes] = []

    class Never(Stream):
        async def give(self, data: bytes) -> None:
            await trio.sleep_forever()

    class Takes(Stream):
        async def give(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            given.append(data)

    for each in (Never, Takes):
        each.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    mixed = MixedStream([Never, Takes])  # type: ignore[type-abstract]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mixed.give, b"piece")
        await trio.testing.wait_all_tasks_blocked()
        mixed._hand_over(Takes())
    assert given == [b"piece"]

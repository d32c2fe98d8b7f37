"""Our side of a feed: pieces leave when they are wanted, and a worker that wants nonsense breaks the protocol."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_folk import ProtocolError
from trio_folk.runtimes._feed import MOST_WANTED, PIECE, Feed


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

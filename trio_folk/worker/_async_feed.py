"""A feed in trio's loop: whoever waits for a piece lets the other calls run.

Invariants
    1. Whatever is told between a look and the wait after it ends the wait.
    2. What was cut off is never taken for the end.

Knows trio and a feed. Does not know who sends the pieces.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ._feed import Feed

__all__ = ["next_piece"]


async def next_piece(feed: Feed, soon: Callable[[Callable[[], None]], object]) -> bytes:
    """The next piece, or nothing at the end.

    Args:
        soon: has a function called in trio's thread.
    """
    while True:
        news = trio.Event()
        feed.stir = lambda news=news: soon(news.set)  # type: ignore[misc]
        if not feed.wanted:
            await trio.sleep_forever()  # nobody wants the call: its own scope is about to be cancelled
        if feed.want is not None and (more := feed.due()):
            feed.want(more)
        piece = feed.take()
        if piece is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            return piece
        await news.wait()

"""A nursery for tasks behind a user's block, out of which the block's own exception leaves bare.

An exception that passes through a nursery comes out wrapped in a group, and ``except ValueError`` no longer
sees it. Whoever opens a pool or a map does not know of our nursery, and must not pay for it.

Knows trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_background"]


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block is left, however it is left.

    Raises:
        BaseExceptionGroup: a background task failed; the block's own exception, if any, is in it.
    """
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as raised:
            if nursery.cancel_scope.cancel_called:
                raise  # a background task failed, and this may be the Cancelled that tells the block so
            error = raised
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error

"""The leak check: what is here after a block that was not here before it.

A pool that leaves one zombie, one socket or one task behind passes every test of its answers, and fails a
service after a week. So the check stands around every test of ours, and is shipped for yours.

Invariants
    1. A clean block is never accused: what is just ending is waited for, in real time, but not for ever.
    2. An exception that is already on its way stays what it is; the leaks become a note on it.
    3. The check moves no clock of trio's: under a MockClock it waits without sleeping on it.

What does not work
    Waiting with ``trio.sleep`` under an autojump clock: trio's time would run past what needs real time.
    Collecting garbage first: it would close what the program forgot to.

Knows time and trio's loop. Does not know where the things it compares are found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import final

import trio
import trio.testing

from ._stock import Stock

__all__ = ["LeakCheck", "assert_nothing_left"]

_FIRST_PAUSE = 0.01  # seconds; each pause is longer than the one before
_LONGEST_PAUSE = 0.1
_GROWTH = 1.5


def assert_nothing_left(*, timeout: float = 2.0) -> LeakCheck:
    """Assert that a block leaves nothing behind: ``with assert_nothing_left():`` or ``async with``.

    Compared are trio's tasks (inside ``trio.run``), child processes and zombies, orphaned processes of this
    session, descriptors, threads (but not those that trio keeps idle), and this library's temporary files.

    ``async with`` lets the event loop run while it waits. A plain ``with`` inside ``trio.run`` blocks the
    loop while it waits; tasks cannot end meanwhile, so it does not wait for them.

    Args:
        timeout: how long to wait, in real seconds, for what is just ending.

    Raises:
        AssertionError: something is left; each thing is named on a line of its own. When the block itself
            raised, that exception goes on instead, with the same text as a note.
    """
    return LeakCheck(timeout)


@final
class LeakCheck:
    """What `assert_nothing_left` returns: a context manager, synchronous and asynchronous."""

    def __init__(self, timeout: float) -> None:
        if not timeout >= 0:
            raise ValueError(f"timeout must be 0 or more seconds, not {timeout!r}")
        self._timeout = timeout
        self._in_trio = False
        self._before: Stock | None = None

    def __enter__(self) -> None:
        self._in_trio = trio.lowlevel.in_trio_run()
        self._before = Stock.take(tasks=self._in_trio)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._left()
        for pause in self._pauses():
            if all(name.startswith("task ") for name in left):
                break
            time.sleep(pause)
            left = self._left()
        self._report(left, error)

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint()
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is just ending, then compare.

        Cancellation: the wait is shielded, and bounded by ``timeout``; always a checkpoint.
        """
        mocked = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            left = self._left()
            for pause in self._pauses():
                if not left:
                    break
                if mocked:
                    time.sleep(pause)  # noqa: ASYNC251  # invariant 3; each pause is short
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.sleep(pause)
                left = self._left()
            self._report(left, error)

    def _pauses(self) -> Iterator[float]:
        """How long to wait before each further look, until the timeout has passed."""
        end = time.monotonic() + self._timeout
        pause = _FIRST_PAUSE
        while (rest := end - time.monotonic()) > 0:
            yield min(pause, rest)
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)

    def _left(self) -> list[str]:
        if self._before is None:
            raise RuntimeError("the leak check was not entered")
        return Stock.take(tasks=self._in_trio).new_since(self._before)

    def _report(self, left: list[str], error: BaseException | None) -> None:
        if not left:
            return
        text = "\n  ".join([f"left behind, and still there after {self._timeout:g} s:", *left])
        if error is None:
            raise AssertionError(text)
        error.add_note(text)

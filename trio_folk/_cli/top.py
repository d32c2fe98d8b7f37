"""``trio-folk top``: running pools, watched in a terminal until somebody has seen enough.

Invariants
    1. However it ends, the terminal is as it was.
    2. A program that goes is waited for, and one that comes is shown.

Knows admin sockets, keys and signals. Does not know how a board is drawn.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from .._errors import FolkError
from ..admin import connect, find_sockets
from .keys import listening_to_keys, next_keys
from .top_board import Board, Program

__all__ = ["run_top"]

AGAIN = 1.0
"""Seconds before a program that does not answer is asked again, and new ones are looked for."""
ANSWER_WAIT = 10.0
"""Seconds beyond the interval that --once waits for programs to tell of their pools."""
HINT = "q or Ctrl-C ends    latency: an estimate, calls running / calls ended a second"

_SIGNALLED = 128


def run_top(options: argparse.Namespace) -> int:
    """Watch, or print once; returns the exit status."""
    try:
        from .rich_names import Console, Group, Live
        from .top_picture import picture
    except ImportError:
        print("trio-folk top: it needs rich: pip install 'trio-folk[cli]'", file=sys.stderr)
        return 2
    console = Console(highlight=False)
    board = Board()
    watch = _Watch(board, options.socket, options.interval)
    if options.once:
        trio.run(watch.once)
        console.print(picture(board, console.width, 1000, ""))
        return int(not board.complete)
    if not console.is_terminal:
        print("trio-folk top: it needs a terminal; --once prints one table", file=sys.stderr)
        return 2

    @contextmanager
    def screen() -> Iterator[Callable[[], None]]:
        def drawn() -> Group:
            width, height = console.size
            return picture(board, width, height, HINT)

        with Live(drawn(), console=console, screen=True, auto_refresh=False, redirect_stdout=False) as live:
            yield lambda: live.update(drawn(), refresh=True)

    with listening_to_keys() as fd, screen() as draw:
        return trio.run(watch.run, fd, draw)


class _Watch:
    """All programs, watched at once.

    Args:
        socket: of the only one that is meant; without it, all that are found.
        interval: seconds between two samples.
    """

    def __init__(self, board: Board, socket: str | None, interval: float) -> None:
        self._board = board
        self._socket = socket
        self._interval = interval
        self._status = 0
        self._changed = trio.Event()

    async def once(self) -> None:
        """Until there is a pace of every pool there is, or nobody answers."""
        paths = [self._socket] if self._socket is not None else find_sockets()
        with trio.move_on_after(self._interval + ANSWER_WAIT):
            async with trio.open_nursery() as nursery:
                for path in paths:
                    self._follow(nursery, path)
                while not self._board.complete and not self._board.in_vain:
                    await self._next_change()
                nursery.cancel_scope.cancel()

    async def run(self, fd: int | None, draw: Callable[[], None]) -> int:
        """Draw whatever changes, until a key or a signal ends it; returns the exit status."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._heed_signals, nursery)
            nursery.start_soon(self._find, nursery)
            if fd is not None:
                nursery.start_soon(self._heed_keys, nursery, fd)
            nursery.start_soon(self._draw, draw)
        return self._status

    async def _draw(self, draw: Callable[[], None]) -> None:
        while True:
            draw()
            await self._next_change()

    async def _next_change(self) -> None:
        await self._changed.wait()
        self._changed = trio.Event()

    async def _heed_signals(self, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGWINCH) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGWINCH:
                    self._changed.set()  # what is there is drawn anew, in the new size
                else:
                    self._status = _SIGNALLED + number
                    nursery.cancel_scope.cancel()

    async def _heed_keys(self, nursery: trio.Nursery, fd: int) -> None:
        while typed := await next_keys(fd):
            if "q" in typed.lower():
                break
        nursery.cancel_scope.cancel()  # or the terminal has gone

    async def _find(self, nursery: trio.Nursery) -> None:
        """Follow the program that is meant, or each that there is and that comes."""
        while True:
            for path in [self._socket] if self._socket is not None else find_sockets():
                self._follow(nursery, path)
            await trio.sleep(AGAIN)

    def _follow(self, nursery: trio.Nursery, path: str) -> None:
        if path not in self._board.programs:
            program = self._board.programs[path] = Program(path)
            nursery.start_soon(self._watch, program)

    async def _watch(self, program: Program) -> None:
        while True:
            try:
                await self._listen(program)
                program.trouble = "its pools have closed; waiting for others"
            except (FolkError, trio.TooSlowError):
                heard = program.pid is not None
                program.trouble = "it has gone; waiting for it" if heard else "nobody answers; waiting"
            self._changed.set()
            await trio.sleep(AGAIN)

    async def _listen(self, program: Program) -> None:
        client = await connect(program.path)
        async with client.watch(interval=self._interval) as samples:
            program.note_here(client.pid)
            async for sample in samples:
                program.note_sample(sample, trio.current_time())
                self._changed.set()

"""How a map gets on, for who watches: a bar with rich, a counter without it, nothing where nobody watches.

Results may go to the same terminal, and workers print when they like. Whatever is printed goes through the
screen, above the bar, or the two would overwrite each other.

Knows terminals. Does not know what is counted.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from .tally import Tally

__all__ = ["Screen", "open_screen"]

_PAUSE = 0.1  # seconds between two drawings of the counter
_CLEAR = "\r\x1b[2K"


class Screen:
    """Standard error of a run; this one shows no progress."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, tally: Tally) -> None:
        """The numbers have changed."""

    def say(self, text: str) -> None:
        """Print something for the reader, above the progress."""
        with suppress(OSError):  # nobody reads standard error: the results go on
            print(text, file=sys.stderr, flush=True)


class Counter(Screen):
    """One line that is written over and over."""

    def __init__(self) -> None:
        self._drawn = 0.0
        self._text = ""

    def __exit__(self, *_: object) -> None:
        self._put(_CLEAR)

    def show(self, tally: Tally) -> None:
        now = time.monotonic()
        count = f"{tally.finished:,}" if tally.total is None else f"{tally.finished:,}/{tally.total:,}"
        self._text = f"{count} items  {numbers(tally)}"
        if now - self._drawn >= _PAUSE:
            self._drawn = now
            self._put(_CLEAR + self._text)

    def say(self, text: str) -> None:
        self._put(_CLEAR)
        super().say(text)
        self._put(self._text)

    def _put(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def numbers(tally: Tally) -> str:
    """The rate, and what went wrong if anything did."""
    parts = [f"{tally.rate:,.1f}/s"]
    if tally.retried:
        parts.append(f"{tally.retried:,} retried")
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    return "  ".join(parts)


def open_screen(total: int | None, *, watched: bool) -> Screen:
    """The screen to use; ``rich`` is optional, and looked for only where somebody watches."""
    if not watched:
        return Screen()
    try:
        from .rich_names import (
            BarColumn,
            Console,
            MofNCompleteColumn,
            Progress,
            Text,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return Counter()

    class Bar(Screen):
        """A bar that moves while items end, and a clock that moves all the time."""

        def __init__(self) -> None:
            self._console = Console(stderr=True, highlight=False)
            clock = TimeElapsedColumn() if total is None else TimeRemainingColumn()
            self._progress = Progress(
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("[yellow]{task.fields[retried]}"),
                TextColumn("[bold red]{task.fields[failed]}"),
                clock,
                console=self._console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._progress.add_task("", total=total, rate="", retried="", failed="")

        def __enter__(self) -> Screen:
            self._progress.start()
            return self

        def __exit__(self, *_: object) -> None:
            self._progress.stop()

        def show(self, tally: Tally) -> None:
            self._progress.update(
                self._task,
                completed=tally.worked,
                rate=f"{tally.rate:,.1f}/s",
                retried=f"{tally.retried:,} retried" if tally.retried else "",
                failed=f"{tally.failed:,} failed" if tally.failed else "",
            )

        def say(self, text: str) -> None:
            self._console.print(Text(text), soft_wrap=True)

    return Bar()

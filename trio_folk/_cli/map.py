"""``trio-folk map``: a pool for as long as there are items, and an end that says what became of each.

Invariants
    1. The target is never imported here.
    2. However it ends, each item has a line on standard output, or is counted as not done.
    3. After the first Ctrl-C it ends within `DRAIN` seconds and the ladder; after the second, within the ladder.

Knows pools, signals and descriptors. Does not know how items are dealt out, or what a screen looks like.
Picture: docs/design/cli.md
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import trio

from .._errors import CrashLoop, FolkError, SpawnError
from .._pool import PoolConfig, WorkerPool, open_pool
from ..runtimes import PipeRuntime
from .again import open_sources
from .answers import not_done, report, summary
from .items import BadInput, Item, Items, Kept, Lines, Words
from .mapper import Mapper
from .progress import Screen, open_screen
from .remote import TARGET
from .streams import complain, log_to, write_lines

__all__ = ["Settings", "run_map"]

DRAIN = 5.0
"""Seconds that running items are given after the first Ctrl-C."""
GRACE = 1.0
"""Seconds that a worker is given on each rung of its ladder."""
LAST_LINES = 1.0
"""Seconds in which the results that are there already are written after the run was cut short."""
_MOST_SEATS = 4096

FINE, SOME_FAILED, NO_POOL, BROKEN_PIPE = 0, 1, 2, 128 + signal.SIGPIPE


@attrs.frozen(kw_only=True)
class Settings:
    """One command line, understood."""

    target: str
    words: tuple[str, ...] = ()
    parse: bool = False
    ordered: bool = False
    retries: int = 0
    traceback: bool = False
    quiet: bool = False
    watch: bool = False
    watch_paths: tuple[str, ...] = ()
    config: PoolConfig

    @classmethod
    def of(cls, options: argparse.Namespace) -> Settings:
        """From the parsed words."""
        slots = {} if options.workers is None else {"slots": options.workers}
        config = PoolConfig(
            on_crash_loop="degrade",  # the map decides what becomes of the items
            **slots,
            exec_timeout=options.timeout,
            boot_timeout=options.boot_timeout,
            max_jobs=options.max_jobs,
            max_memory_mb=options.memory,
            terminate_grace=GRACE,
            min_uptime=0,  # an item that kills its worker is that item's failure, not the pool's
        )
        config = attrs.evolve(config, max_surge=config.slots)  # nothing runs while it is reloaded
        return cls(
            target=options.target,
            words=tuple(options.items),
            parse=options.json,
            ordered=options.ordered,
            retries=options.retries,
            traceback=options.traceback,
            quiet=options.quiet,
            watch=options.watch or bool(options.watch_path),
            watch_paths=tuple(options.watch_path),
            config=config,
        )


def run_map(settings: Settings) -> int:
    """Run it; returns the exit status."""
    return trio.run(_Run(settings).run)


class _Run:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        words = settings.words
        self._items: Items = Words(words) if words else Lines(0)
        self._watched = sys.stderr.isatty() and not settings.quiet
        self._same_terminal = self._watched and sys.stdout.isatty()
        self._screen = Screen()
        self._scope = trio.CancelScope()
        self._mapper: Mapper | None = None
        self._signal: signal.Signals | None = None
        self._broken_pipe = False

    async def run(self) -> int:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, signals)
                status = await self._start()
                nursery.cancel_scope.cancel()
        return status

    async def _listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if self._signal is not None or self._mapper is None:
                self._scope.cancel()
            else:
                self._mapper.drain()
                self._scope.deadline = trio.current_time() + DRAIN
                self._tell(f"interrupted: running items get {DRAIN:g} s; once more ends them at once")
            self._signal = self._signal or signal.Signals(number)

    async def _start(self) -> int:
        """Open the pool, find the target, run the map; say what came of it."""
        settings = self._settings
        runtime = PipeRuntime.python("trio_folk._cli.remote:worker", env={TARGET: settings.target})
        log_to(None if settings.quiet else self._tell)
        try:
            with self._scope:
                async with open_pool(runtime, config=settings.config, name="map") as pool:
                    told = await pool.execute("target", exec_timeout=settings.config.boot_timeout)
                    if "error" in told:
                        return self._no_target(told["error"])
                    if settings.watch:
                        await self._map_again(pool, told)
                    else:
                        await self._map(pool, told)
        except FolkError as error:
            return self._no_pool(error)
        if self._mapper is None:
            return 128 + (self._signal or signal.SIGINT)  # only a signal ends it while nothing is mapped
        return await self._end(self._mapper)

    @staticmethod
    def _no_target(error: dict[str, Any]) -> int:
        if error["traceback"]:
            complain(error["traceback"].rstrip())
        complain(f"trio-folk map: {error['message']}")
        return NO_POOL

    def _no_pool(self, error: FolkError) -> int:
        never = self._mapper is None and isinstance(error, SpawnError | CrashLoop)
        complain(f"trio-folk map: {'no worker came to life: ' if never else ''}{error}")
        return NO_POOL

    async def _map_again(self, pool: WorkerPool, told: dict[str, Any]) -> None:
        """Map, and again whenever the code has changed, until something ends a map that would end any other."""
        self._items = items = Kept(self._items)
        paths = sorted({*told["sources"], *self._settings.watch_paths})
        async with open_sources(pool, paths, self._tell) as sources:
            while True:
                mapper = await self._map(pool, told)
                if self._signal is not None or self._broken_pipe or not items.whole:
                    return
                await self._end(mapper)
                self._mapper = None  # a signal ends it at once now
                told = await sources.renewed()
                items.again()

    async def _map(self, pool: WorkerPool, told: dict[str, Any]) -> Mapper:
        settings = self._settings
        self._screen = open_screen(self._items.total, watched=self._watched)
        self._mapper = mapper = Mapper(
            pool,
            self._items,
            parse=settings.parse,
            ordered=settings.ordered,
            retries=settings.retries,
            write=self._write,
            on_change=self._changed,
            watched=self._watched,
        )
        if not settings.words and self._items.total is None and self._watched and os.isatty(0):
            self._tell("reading items from the terminal, one a line; Ctrl-D ends them")
        with self._screen:
            self._screen.show(mapper.tally)
            await mapper.run(min(settings.config.slots * told["concurrency"], _MOST_SEATS))
        return mapper

    def _changed(self, item: Item | None, told: dict[str, Any]) -> None:
        assert self._mapper is not None
        if item is not None and "error" in told and not self._settings.quiet:
            self._screen.say(report(item, told["error"], whole=self._settings.traceback))
        self._screen.show(self._mapper.tally)

    # -- what is said

    async def _write(self, lines: Sequence[str]) -> None:
        if self._same_terminal:
            for line in lines:
                self._screen.say(line)
            return
        try:
            await write_lines(lines)
        except BrokenPipeError:
            self._broken_pipe = True  # who read has had enough
            self._scope.cancel()

    def _tell(self, text: str) -> None:
        if not self._settings.quiet:
            self._screen.say(text)

    async def _end(self, mapper: Mapper) -> int:
        """Write what is there, say what is not, and judge."""
        if self._broken_pipe:
            return BROKEN_PIPE
        with trio.move_on_after(LAST_LINES):
            await self._write(mapper.leftovers())
        failure, tally = mapper.failure, mapper.tally
        if failure is not None:
            complain(f"trio-folk map: stopped: {failure}")
        if mapper.draining or failure is not None:
            for line in not_done(mapper.undone(), tally.total):
                complain(line)
        if not self._settings.quiet and (self._watched or tally.failed or tally.retried or mapper.draining):
            complain(summary(tally))
        if self._signal is not None:
            return 128 + self._signal
        if isinstance(failure, BadInput):
            return NO_POOL
        return SOME_FAILED if failure is not None or tally.failed else FINE

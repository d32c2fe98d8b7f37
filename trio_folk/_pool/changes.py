"""Changes of files: which have changed, told when no more come.

A save is several events (a temporary file, a rename, an attribute), and a checkout is hundreds. Who acts on the
first of them reads half of the new code.

Invariants
    1. Once `open_changes` has yielded, no change goes untold, however often a file is replaced or a folder made anew.
    2. `Changes.settle` returns when nothing has changed for ``debounce`` seconds, at the latest after ten times that.
    3. A cancellation is noticed within `_STEP`; no thread and no descriptor is left.

What does not work
    watchfiles.awatch: cancelled, it waits up to 5 s for its thread; and nobody can tell when it has begun to watch.
    One watch for ever: editors put another file in the place of the one they save, checkouts another folder, and
        the watch stays with the old one. So each path is compared with what it was, at each step.
    watchfiles' timeouts: when one runs out, it forgets what came in that moment. It forgets what comes while it hands
        over other changes, too; but those are followed by a pause, and by an answer.
    watchfiles' filter on whole paths: it would see nothing of a project that lies below some ``.venv``.

Knows watchfiles and threads. Does not know pools, nor what the files are for.
Picture: docs/design/watch.md
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from types import ModuleType

import trio

from .._errors import FolkError
from .background import open_background

__all__ = ["Changes", "StrPath", "open_changes"]

StrPath = str | os.PathLike[str]
_Identity = tuple[int, int]  # device and inode

_STEP = 20  # milliseconds between two looks at what has come, and at whether to stop
_BATCH = 100  # milliseconds after which changes are handed over though more come
_LONGEST = 10  # times the debounce, for files that never stop changing
_FOLDERS = (".ruff_cache", ".nox", ".direnv", "htmlcov")  # not to be looked at, besides watchfiles' own list
_NAMES = (r"^4913$", r"^#.*#$", r"^\.goutputstream-", r"\.kate-swp$")  # what vim, emacs, gedit and kate leave


class Changes:
    """The files that have changed and were not yet told."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._noted = trio.Event()
        self._failure: FolkError | None = None

    def note(self, paths: Iterable[str]) -> None:
        """These have changed."""
        self._seen.update(paths)
        self._noted.set()

    def fail(self, error: FolkError) -> None:
        """Nothing can be seen any more."""
        self._failure = error
        self._noted.set()

    async def settle(self, debounce: float) -> list[str]:
        """The files that have changed, once nothing has changed for so many seconds.

        Raises:
            FolkError: files cannot be watched any more.

        Always a checkpoint. Cancellation loses nothing: the next call tells it.
        """
        await trio.lowlevel.checkpoint()
        while not self._seen and self._failure is None:
            await self._next()
        latest = trio.current_time() + _LONGEST * debounce
        quiet = False
        while not quiet and self._failure is None:
            with trio.move_on_at(min(trio.current_time() + debounce, latest)) as pause:
                await self._next()
            quiet = pause.cancelled_caught
        if self._failure is not None:
            raise self._failure
        seen, self._seen = self._seen, set()
        return sorted(seen)

    async def _next(self) -> None:
        self._noted = trio.Event()
        await self._noted.wait()


@asynccontextmanager
async def open_changes(*paths: StrPath) -> AsyncIterator[Changes]:
    """Watch files, and folders with all that is in them: `Changes.settle` tells what changes inside the block.

    Raises:
        FileNotFoundError: there is no such path.
        FolkError: watchfiles is not installed, or the system cannot watch so much.

    Entering and leaving are always checkpoints. Cancellation: nothing is watched any more.
    """
    if not paths:
        raise TypeError("watch needs at least one path")
    lookout = _Lookout(_watchfiles(), _real(paths))
    async with open_background() as nursery:
        await nursery.start(lookout.run)
        yield lookout.changes


def _watchfiles() -> ModuleType:
    try:
        import watchfiles
    except ImportError as error:
        raise FolkError(
            "files cannot be watched: watchfiles is not installed", hint='pip install "trio-folk[watch]"'
        ) from error
    return watchfiles


def _real(paths: Iterable[StrPath]) -> list[str]:
    """The paths that changes are told with, whatever becomes of the working directory."""
    found: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if not os.path.exists(real):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        found.add(real)
    return sorted(found)


class _Lookout:
    """Notes the changes of some paths, in a thread that is asked at each step whether to stop, and never left.

    Attributes:
        changes: where they are noted.
    """

    def __init__(self, watchfiles: ModuleType, paths: list[str]) -> None:
        self.changes = Changes()
        self._paths = paths
        self._deleted = {(watchfiles.Change.deleted, path) for path in paths}
        self._wanted = _filter(watchfiles, paths)
        self._watch = partial(
            watchfiles.watch, watch_filter=None, step=_STEP, debounce=_BATCH, rust_timeout=0
        )
        self._known: list[_Identity | None] = []
        self._anew: list[str] = []  # which paths have something else in their place
        self._watching = False
        self._started = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Look until cancelled; what ends it later is told by the changes."""
        self._task_status = task_status
        try:
            await trio.to_thread.run_sync(self._look, limiter=trio.CapacityLimiter(1))
        except (OSError, RuntimeError) as error:
            failure = self._refused(error)
            if not self._started:
                raise failure from error
            failure.__cause__ = error
            self.changes.fail(failure)

    def _look(self) -> None:
        """In the thread: watch, and watch again what has taken the place of a path."""
        while True:
            before, self._known = self._known, self._identities()
            pairs = zip(self._paths, before, self._known, strict=False)
            self._anew = [path for path, old, new in pairs if old != new] or self._paths
            self._watching = False
            there = [path for path, now in zip(self._paths, self._known, strict=True) if now is not None]
            try:
                with closing(self._watch(*there, stop_event=self)) as batches:
                    self._note(batches)
            except FileNotFoundError:
                pass  # it went at this moment
            except RuntimeError:
                if not self._watching:
                    raise
                # watchfiles stumbled over an event: a name that is not UTF-8, say
            trio.from_thread.check_cancelled()
            time.sleep(_STEP / 1000)

    def is_set(self) -> bool:
        """What watchfiles asks at each step, in the thread: whether to stop. That it asks says that it watches."""
        trio.from_thread.check_cancelled()
        if not self._watching:
            self._watching = True
            trio.from_thread.run_sync(self._begin)
        return self._identities() != self._known

    def _begin(self) -> None:
        if self._started:
            self.changes.note(self._anew)
        else:
            self._started = True
            self._task_status.started()

    def _note(self, batches: Iterable[set[tuple[object, str]]]) -> None:
        for batch in batches:
            paths = [path for _, path in batch if self._wanted(path)]
            if paths:
                trio.from_thread.run_sync(self.changes.note, paths)
            if not self._deleted.isdisjoint(batch):
                return  # what has its place now may even have its number

    def _identities(self) -> list[_Identity | None]:
        return [_identity(path) for path in self._paths]

    def _refused(self, error: Exception) -> FolkError:
        return FolkError(
            f"{', '.join(self._paths)} cannot be watched: {error}",
            hint="watch less, raise fs.inotify.max_user_watches and max_user_instances (sysctl), "
            "or set WATCHFILES_FORCE_POLLING=1",
        )


def _filter(watchfiles: ModuleType, paths: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path is worth telling, seen from the one that was named; that itself always is."""
    default = watchfiles.DefaultFilter
    worth = default(
        ignore_dirs=(*default.ignore_dirs, *_FOLDERS),
        ignore_entity_patterns=(*default.ignore_entity_patterns, *_NAMES),
    )

    def wanted(path: str) -> bool:
        below = (os.path.relpath(path, each) for each in paths if f"{path}/".startswith(f"{each}/"))
        return any(worth(watchfiles.Change.modified, each) for each in below)

    return wanted


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino

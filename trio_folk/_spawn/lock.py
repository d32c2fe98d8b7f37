"""Spawn lock: of all programs on this machine that want to start the same thing, one does.

Invariants
    1. At no instant does `SpawnLock.verify` hold for two locks of one path.
    2. Once the file was deleted, moved or replaced, it fails for good; moving it back does not mend it.
    3. A holder that dies is no holder: the kernel releases the lock with its last descriptor.

Why 1 follows from 2: flock(2) admits one holder to a file. Two holders have two files, of which the path names one at a
time; the other was moved or deleted since its holder found it there, and its st_ctime says so.

What does not work
    Comparing once, after locking: the file may be unlinked and made anew the next moment. A pid in a file: pids are
    used again. Deleting the file at release: it lets the next one lock a file that is about to vanish.

Does not defend against a hostile process of the same user, against its directory being exchanged for another and back,
nor on network file systems that keep st_ctime badly. Does not know what is started.
Picture: docs/design/spawn.md
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import weakref
from types import TracebackType
from typing import NoReturn, final

import trio

from .._errors import AlreadyLocked, LockDeletedOrRecreated, LockFailed, LockIdentityError
from .holder import read_holder, write_holder
from .lockfile import Identity, identify, open_lock_file

__all__ = ["SpawnLock", "acquire_spawn_lock", "wait_spawn_lock"]

FIRST_WAIT = 0.005
"""Seconds before the second look at a lock that is held; doubled for each further one."""
LONGEST_WAIT = 0.5
"""Seconds between two looks at most."""

_held: weakref.WeakSet[SpawnLock] = weakref.WeakSet()


@final
class SpawnLock:
    """A lock that is held, from `acquire_spawn_lock` or `wait_spawn_lock`; released by its block or `release`.

    Attributes:
        path: the lock file's, absolute.
    """

    def __init__(self, path: str, file: io.FileIO) -> None:
        self.path = path
        self._file = file  # closes itself, with a ResourceWarning, where nobody released it
        self._owner = os.getpid()
        self._identity = identify(file.fileno())
        self._lost: LockDeletedOrRecreated | None = None
        _held.add(self)

    def __repr__(self) -> str:
        state = "released" if self._file.closed else "lost" if self._lost else "held"
        return f"<SpawnLock {self.path!r}, {state}>"

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file that is locked."""
        return self._identity.file

    def verify(self) -> None:
        """Return if it is held, here and now. Call it immediately before each step that cannot be undone.

        Raises:
            LockDeletedOrRecreated: its file was deleted, moved, replaced or written to since; it will not be
                held again.
            LockIdentityError: its path cannot be read, it was released, or this is a fork of its holder.
        """
        if self._lost is not None:
            raise LockDeletedOrRecreated(self._lost.message, self.path) from self._lost
        if self._file.closed or self._owner != os.getpid():
            whose = (
                "was released" if self._owner == os.getpid() else f"is held by its parent, pid {self._owner}"
            )
            raise LockIdentityError(f"the spawn lock {whose}: {self.path}", self.path)
        try:
            named: Identity | None = Identity.of(os.lstat(self.path))
        except (FileNotFoundError, NotADirectoryError):
            named = None
        except OSError as error:
            raise LockIdentityError(
                f"the lock file cannot be looked at: {error.strerror}: {self.path}", self.path
            ) from error
        # Of the two looks this one decides, and it is the later one: unchanged, the file was where it is all along.
        if Identity.of(os.fstat(self._file.fileno())) != self._identity or named != self._identity:
            self._lose(named)

    def _lose(self, named: Identity | None) -> NoReturn:
        what = "is gone" if named is None else "was replaced"
        if named is not None and named.file == self._identity.file:
            what = "was moved, linked or written to"
        self._lost = LockDeletedOrRecreated(f"the lock file {what} while it was held: {self.path}", self.path)
        self._lost.opened = self._identity.file
        self._lost.current = None if named is None else named.file
        raise self._lost

    def release(self) -> None:
        """Release it, and empty the record of who held it; the file stays. Twice is no error."""
        if self._file.closed:
            return
        _held.discard(self)
        with contextlib.suppress(OSError):  # a full disk, say: the record is for people only
            os.ftruncate(self._file.fileno(), 0)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # a child between fork and exec still has the descriptor
        self._file.close()

    def __enter__(self) -> SpawnLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire_spawn_lock(path: str | os.PathLike[str]) -> SpawnLock:
    """The lock on this path, at once or not at all: ``with acquire_spawn_lock(path) as lock``.

    The file is made where it is missing, and so is its directory, which is to be ours alone (0700). The file stays
    when the lock is released. Never blocks for longer than a tick of the kernel's clock.

    Raises:
        AlreadyLocked: it is held, by another process or this one; says by whom, and since when.
        LockOpenError: the file or its directory cannot be opened, or is not safe.
        LockFailed: it cannot be locked or written to.
        LockDeletedOrRecreated: somebody exchanged the file just now; ask again.
        LockIdentityError: its path cannot be read.
    """
    where = os.path.abspath(path)
    file = io.FileIO(open_lock_file(where), "r+")
    try:
        _lock(file, where)
        lock = SpawnLock(where, file)
        lock.verify()
    except BaseException:
        file.close()
        raise
    return lock


async def wait_spawn_lock(path: str | os.PathLike[str], *, timeout: float = 60.0) -> SpawnLock:
    """The lock on this path, as soon as it is free: ``with await wait_spawn_lock(path) as lock``.

    It looks again and again, at growing intervals: who waits longest does not come first.

    Args:
        path: as for `acquire_spawn_lock`.
        timeout: seconds after which the last refusal is raised.

    Raises:
        AlreadyLocked, LockDeletedOrRecreated: at the deadline.
        LockOpenError, LockFailed, LockIdentityError: at once, as `acquire_spawn_lock`.

    Always a checkpoint. Cancellation: nothing is held, and nothing is open.
    """
    await trio.lowlevel.checkpoint()
    deadline = trio.current_time() + timeout
    wait = FIRST_WAIT
    while True:
        try:
            return acquire_spawn_lock(path)
        except (AlreadyLocked, LockDeletedOrRecreated):
            left = deadline - trio.current_time()
            if left <= 0:
                raise
        await trio.sleep(min(wait, left))
        wait = min(2 * wait, LONGEST_WAIT)


def _lock(file: io.FileIO, path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = read_holder(file.fileno())
        if holder is None:
            raise AlreadyLocked(f"the spawn lock is held, its holder is not known: {path}", path) from error
        raise AlreadyLocked(
            f"the spawn lock is held by {holder}: {path}",
            path,
            pid=holder.pid,
            since=holder.since,
            program=holder.program,
        ) from error
    except OSError as error:
        raise LockFailed(f"the lock file cannot be locked: {error.strerror}: {path}", path) from error
    try:
        write_holder(file.fileno())
    except OSError as error:
        raise LockFailed(f"the lock file cannot be written to: {error.strerror}: {path}", path) from error


def _close_in_fork() -> None:
    # A fork shares its parent's lock, and would keep it when the parent dies.
    for lock in list(_held):
        lock._file.close()


os.register_at_fork(after_in_child=_close_in_fork)

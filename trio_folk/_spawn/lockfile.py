"""Lock file: opened only where nobody else could have put it, and known by more than its name.

Invariants
    1. The directory is ours and closed to all others; so is the file, which has no other name and is no link.
    2. Two identities are equal only if the file has not been renamed, deleted, linked or written to in between.

What does not work
    Device and inode alone: a file that is renamed away and back has the same ones, and meanwhile somebody else may
    have locked another file of its name. But an unlink and a link change st_ctime (inode(7)), and so does a rename
    on the file systems of Linux and macOS (rename(3p) allows it). So the identity of a file holds its st_ctime,
    once that can be told from any later one: see `identify`.

Knows files. Does not know locks, or who asks.
"""

from __future__ import annotations

import os
import stat
import sys
import time

import attrs

from .._errors import LockDeletedOrRecreated, LockOpenError

__all__ = ["Identity", "identify", "open_lock_file"]

CLOCK_REALTIME_COARSE = 5
"""clock_gettime(2), Linux: the clock that st_ctime is taken from, without asking the hardware."""
TICK = 0.001
"""Seconds between two looks at it; it moves every 1 to 10 ms."""
LOOKS = 100
"""Looks after which a clock that does not move is taken for broken."""


@attrs.frozen
class Identity:
    """Which file it is, and in which state."""

    device: int
    inode: int
    links: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        """From what stat(2) tells."""
        return cls(found.st_dev, found.st_ino, found.st_nlink, found.st_ctime_ns)

    @property
    def file(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode


def open_lock_file(path: str) -> int:
    """A descriptor of the file, which is made if it is missing, as its directory is.

    Raises:
        LockOpenError: it cannot be opened, or one of the two is not safe.
        LockDeletedOrRecreated: it was deleted while it was being opened.
    """
    folder, name = os.path.split(path)
    directory = _open_directory(folder, path)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(name, flags, 0o600, dir_fd=directory)
    except OSError as error:
        hint = "a symbolic link is not followed" if os.path.islink(path) else None
        raise LockOpenError(
            f"the lock file cannot be opened: {error.strerror}: {path}", path, hint=hint
        ) from error
    finally:
        os.close(directory)
    try:
        _check_file(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_directory(folder: str, path: str) -> int:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise LockOpenError(
            f"the lock's directory cannot be made: {error.strerror}: {folder}",
            path,
            hint="only the last directory of the path is made: make the ones above it",
        ) from error
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        hint = (
            "a symbolic link is not followed: name the directory itself" if os.path.islink(folder) else None
        )
        raise LockOpenError(
            f"the lock's directory cannot be opened: {error.strerror}: {folder}", path, hint=hint
        ) from error
    try:
        _check_owner(os.fstat(fd), "directory", folder, path, "700")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_file(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise LockOpenError(f"the lock file is not a regular file: {path}", path, hint="remove it")
    _check_owner(found, "file", path, path, "600")
    if found.st_nlink == 0:
        raise LockDeletedOrRecreated(f"the lock file was deleted while it was opened: {path}", path)
    if found.st_nlink > 1:
        raise LockOpenError(
            f"the lock file has {found.st_nlink} names: {path}", path, hint="remove it: a new one is made"
        )


def _check_owner(found: os.stat_result, kind: str, name: str, path: str, mode: str) -> None:
    if found.st_uid != os.geteuid():
        raise LockOpenError(
            f"the lock's {kind} belongs to uid {found.st_uid}, not to {os.geteuid()}: {name}",
            path,
            hint="choose a directory of your own, e.g. in $XDG_RUNTIME_DIR",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise LockOpenError(
            f"the lock's {kind} is open to others, mode {stat.S_IMODE(found.st_mode):04o}: {name}",
            path,
            hint=f"chmod {mode} {name}",
        )


def identify(fd: int) -> Identity:
    """The file's identity, once no later change can bear the same st_ctime.

    On Linux st_ctime moves with the kernel's tick: a second change within one tick does not show. So the end of the
    last change's tick is awaited, for 10 ms at most. From Linux 6.13 on most file systems give a change that
    follows a look a time of its own, and there is nothing to wait for.
    """
    identity = Identity.of(os.fstat(fd))
    if sys.platform == "linux":
        for _ in range(LOOKS):
            if time.clock_gettime_ns(CLOCK_REALTIME_COARSE) != identity.changed:
                break
            time.sleep(TICK)
    return identity

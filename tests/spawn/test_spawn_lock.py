"""The spawn lock within one process: held, verified, lost, released, waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_folk._errors import (
    AlreadyLocked,
    LockDeletedOrRecreated,
    LockFailed,
    LockIdentityError,
    LockOpenError,
)
from trio_folk._spawn import acquire_spawn_lock, wait_spawn_lock
from trio_folk._spawn import lock as lock_module
from trio_folk._spawn import lockfile as lockfile_module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "backend.spawn.lock"


def test_lock_is_exclusive_between_pools_of_one_process(path: Path) -> None:
    """flock is by open file, not by process; the refused one changes nothing."""
    with acquire_spawn_lock(path) as lock:
        for _ in range(3):
            with pytest.raises(AlreadyLocked) as refusal:
                acquire_spawn_lock(path)
            assert refusal.value.pid == os.getpid()
        lock.verify()
        assert lock.identity == (path.stat().st_dev, path.stat().st_ino)
        assert repr(lock) == f"<SpawnLock {str(path)!r}, held>"
    with acquire_spawn_lock(path):
        pass


def test_file_and_directory_are_made_for_their_owner_alone(path: Path) -> None:
    """0600 in 0700."""
    with acquire_spawn_lock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_released_lock_leaves_its_file_and_no_record(path: Path) -> None:
    """Deleting it would let the next one lock a file that is about to vanish."""
    lock = acquire_spawn_lock(os.fspath(path))
    inode = path.stat().st_ino
    assert path.stat().st_size > 0
    lock.release()
    lock.release()
    assert path.stat().st_size == 0
    assert repr(lock).endswith("released>")
    with pytest.raises(LockIdentityError, match="was released"):
        lock.verify()
    with acquire_spawn_lock(path):
        assert path.stat().st_ino == inode


def test_lock_is_released_when_its_block_fails(path: Path) -> None:
    """Whatever leaves it."""
    with pytest.raises(KeyError), acquire_spawn_lock(path):
        raise KeyError
    acquire_spawn_lock(path).release()


def test_locks_of_one_directory_do_not_hinder_each_other(path: Path) -> None:
    """Each name is its own."""
    with acquire_spawn_lock(path) as one, acquire_spawn_lock(path.with_name("other.lock")) as other:
        one.verify()
        other.verify()


def _unlink(path: Path) -> None:
    path.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def _recreate(path: Path) -> None:
    path.unlink()
    path.touch(0o600)


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch(0o600)
    other.rename(path)


def _move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def _move_away_and_back(path: Path) -> None:
    _move(path)
    path.with_name("elsewhere").rename(path)


def _exchange_and_back(path: Path) -> None:
    _move(path)
    with acquire_spawn_lock(path) as other:
        other.verify()
    path.with_name("elsewhere").rename(path)


def _link_and_back(path: Path) -> None:
    os.link(path, path.with_name("link"))
    path.unlink()
    path.with_name("link").rename(path)


deeds: list[tuple[Callable[[Path], None], str]] = [
    (_unlink, "is gone"),
    (_move, "is gone"),
    (_move_directory, "is gone"),
    (_recreate, "was replaced"),
    (_replace, "was replaced"),
    (_move_away_and_back, "was moved"),
    (_exchange_and_back, "was moved"),
    (_link_and_back, "was moved"),
]


@pytest.mark.parametrize(("deed", "said"), deeds, ids=[deed.__name__[1:] for deed, _ in deeds])
def test_lock_is_lost_for_good_with_its_file(path: Path, deed: Callable[[Path], None], said: str) -> None:
    """At the first look after it, and at each later one, even if the file is put back."""
    with acquire_spawn_lock(path) as lock:
        lock.verify()
        deed(path)
        with pytest.raises(LockDeletedOrRecreated, match=said) as first:
            lock.verify()
        assert first.value.opened == lock.identity
        assert (first.value.current is None) == (not path.exists())
        with pytest.raises(LockDeletedOrRecreated, match=said):
            lock.verify()
        assert repr(lock).endswith("lost>")


def test_a_lock_that_failed_once_never_holds_again(path: Path) -> None:
    """The directory, and the file as it was, are put back before the second look."""
    with acquire_spawn_lock(path) as lock:
        _move_directory(path)
        with pytest.raises(LockDeletedOrRecreated):
            lock.verify()
        path.parent.with_name("moved").rename(path.parent)
        with pytest.raises(LockDeletedOrRecreated):
            lock.verify()


def test_release_does_not_wait_for_a_child_that_is_about_to_execute(path: Path) -> None:
    """Between fork and exec a child has every descriptor, close-on-exec or not."""
    lock = acquire_spawn_lock(path)
    copy = os.dup(lock._file.fileno())
    lock.release()
    acquire_spawn_lock(path).release()
    os.close(copy)


def test_of_two_holders_of_two_files_the_one_at_the_path_is_verified(path: Path) -> None:
    """And after the files are exchanged, neither is."""
    with acquire_spawn_lock(path) as old:
        _move(path)
        with acquire_spawn_lock(path) as new:
            new.verify()
            with pytest.raises(LockDeletedOrRecreated):
                old.verify()
            path.with_name("elsewhere").rename(path)
            for lock in (old, new):
                with pytest.raises(LockDeletedOrRecreated):
                    lock.verify()


def test_a_path_that_cannot_be_read_is_no_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known whether it is held: so it is not, but nor is it lost."""
    with acquire_spawn_lock(path) as lock:

        def refuse(_: object) -> Any:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with monkeypatch.context() as patch:
            patch.setattr(lock_module.os, "lstat", refuse)
            with pytest.raises(LockIdentityError, match="Permission denied"):
                lock.verify()
        lock.verify()


def test_file_exchanged_between_lock_and_look_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock that was had is on a file that nobody else will find; nothing stays open."""
    genuine = fcntl.flock

    def lock_late(file: Any, how: int) -> None:
        genuine(file, how)
        if how & fcntl.LOCK_EX:
            _recreate(path)

    with monkeypatch.context() as patch:
        patch.setattr(lock_module.fcntl, "flock", lock_late)
        with pytest.raises(LockDeletedOrRecreated):
            acquire_spawn_lock(path)
    acquire_spawn_lock(path).release()


def test_identity_waits_for_the_end_of_the_tick(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two changes within one tick look the same, the lock is not given before the tick is over."""
    changed: list[int] = []

    def clock(which: int) -> int:
        assert which == lockfile_module.CLOCK_REALTIME_COARSE
        changed.append(path.stat().st_ctime_ns)
        return changed[-1] + (len(changed) > 3)

    monkeypatch.setattr(lockfile_module.sys, "platform", "linux")
    monkeypatch.setattr(lockfile_module.time, "clock_gettime_ns", clock)
    with acquire_spawn_lock(path):
        assert len(changed) == 4


def test_a_system_without_locks_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without flock."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock_module.fcntl, "flock", refuse)
    with pytest.raises(LockFailed, match="No locks available"):
        acquire_spawn_lock(path)


def test_a_full_disk_is_told_and_nothing_is_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record cannot be written."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "write_holder", refuse)
        with pytest.raises(LockFailed, match="No space left"):
            acquire_spawn_lock(path)
    acquire_spawn_lock(path).release()


async def test_waiting_gets_the_lock_when_it_is_released(path: Path) -> None:
    """The second has it after the first, not before."""
    order = []

    async def second() -> None:
        with await wait_spawn_lock(path, timeout=60) as lock:
            lock.verify()
            order.append("second")

    async with trio.open_nursery() as nursery:
        with acquire_spawn_lock(path):
            nursery.start_soon(second)
            await trio.sleep(0.03)
            order.append("first")
    assert order == ["first", "second"]


async def test_waiting_ends_at_its_deadline_with_the_holder(path: Path) -> None:
    """The last refusal says who; a deadline of 0 is one look."""
    with acquire_spawn_lock(path):
        for timeout in (0, 0.02):
            with pytest.raises(AlreadyLocked) as refusal:
                await wait_spawn_lock(path, timeout=timeout)
            assert refusal.value.pid == os.getpid()


async def test_waiting_can_be_cancelled_and_leaves_nothing(path: Path) -> None:
    """Neither a lock nor a descriptor, which the leak check sees."""
    with acquire_spawn_lock(path):
        with trio.move_on_after(0.03) as scope:
            await wait_spawn_lock(path)
        assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await wait_spawn_lock(path)
    assert scope.cancelled_caught
    acquire_spawn_lock(path).release()


async def test_waiting_outlasts_an_exchanged_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again, as the immediate form would have its caller do."""
    genuine, left = lock_module.acquire_spawn_lock, 3

    def exchange_first(where: Any) -> Any:
        nonlocal left
        left -= 1
        if left:
            raise LockDeletedOrRecreated("exchanged")
        return genuine(where)

    monkeypatch.setattr(lock_module, "acquire_spawn_lock", exchange_first)
    (await wait_spawn_lock(path)).release()


async def test_waiting_does_not_wait_for_what_does_not_pass(path: Path) -> None:
    """A directory open to others stays so."""
    path.parent.mkdir(mode=0o755)
    began = time.monotonic()
    with pytest.raises(LockOpenError):
        await wait_spawn_lock(path, timeout=600)
    assert time.monotonic() - began < 60

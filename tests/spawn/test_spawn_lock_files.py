"""Which files and directories a lock is refused on, and what may stand in its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_folk._errors import AlreadyLocked, LockDeletedOrRecreated, LockOpenError
from trio_folk._spawn import acquire_spawn_lock
from trio_folk._spawn import lockfile as lockfile_module
from trio_folk._spawn.holder import PROGRAM_SHOWN, Holder, read_holder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "locks"
    folder.mkdir(0o700)
    return folder / "backend.spawn.lock"


def _link(path: Path) -> None:
    target = path.with_name("target")
    target.touch(0o600)
    path.symlink_to(target)


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _second_name(path: Path) -> None:
    path.touch(0o600)
    os.link(path, path.with_name("second"))


def _open_file(path: Path) -> None:
    path.touch()
    path.chmod(0o640)


def _fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def _directory(path: Path) -> None:
    path.mkdir(0o700)


def _open_directory(path: Path) -> None:
    path.parent.chmod(0o750)


def _linked_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to(path.parent.with_name("real"))


def _file_for_directory(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def _no_parent(path: Path) -> None:
    path.parent.rmdir()
    path.parent.parent.rmdir()


unsafe: list[tuple[Callable[[Path], None], str]] = [
    (_link, "symbolic link"),
    (_dangling_link, "symbolic link"),
    (_second_name, "2 names"),
    (_open_file, "chmod 600"),
    (_fifo, "not a regular file"),
    (_directory, "cannot be opened"),
    (_open_directory, "chmod 700"),
    (_linked_directory, "name the directory itself"),
    (_file_for_directory, "Not a directory"),
    (_no_parent, "make the ones above it"),
]


@pytest.mark.parametrize(("deed", "said"), unsafe, ids=[deed.__name__[1:] for deed, _ in unsafe])
def test_unsafe_file_is_refused_with_a_remedy(path: Path, deed: Callable[[Path], None], said: str) -> None:
    """And is not changed: neither followed, nor mended."""
    deed(path)
    for _ in range(2):
        with pytest.raises(LockOpenError, match=said) as refusal:
            acquire_spawn_lock(path)
        assert refusal.value.path == str(path)
    assert not path.with_name("nowhere").exists()


@pytest.mark.parametrize("which", ["directory", "file"])
def test_what_belongs_to_another_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Its owner could put another in its place."""
    path.touch(0o600)
    genuine = os.fstat

    def owned_by_another(fd: int) -> Any:
        found = list(genuine(fd))
        if (which == "directory") == os.path.isdir(f"/proc/self/fd/{fd}"):
            found[4] += 1
        return os.stat_result(found)

    monkeypatch.setattr(lockfile_module.os, "fstat", owned_by_another)
    with pytest.raises(LockOpenError, match=f"the lock's {which} belongs to uid"):
        acquire_spawn_lock(path)


def test_file_deleted_while_it_is_opened_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on it would be a lock on nothing."""
    genuine = os.open

    def open_and_delete(name: Any, *args: Any, **kwargs: Any) -> int:
        fd = genuine(name, *args, **kwargs)
        if name == path.name:
            path.unlink()
        return fd

    monkeypatch.setattr(lockfile_module.os, "open", open_and_delete)
    with pytest.raises(LockDeletedOrRecreated, match="deleted while it was opened"):
        acquire_spawn_lock(path)


def test_relative_paths_are_those_of_now(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of directory does not lose the lock."""
    monkeypatch.chdir(path.parent)
    with acquire_spawn_lock(path.name) as lock:
        monkeypatch.chdir("/")
        lock.verify()
        assert lock.path == str(path)


def test_refusal_names_the_holder(path: Path) -> None:
    """Its pid, its program, and since when."""
    before = time.time()
    with acquire_spawn_lock(path):
        with pytest.raises(AlreadyLocked, match=f"held by pid {os.getpid()} \\(") as refusal:
            acquire_spawn_lock(path)
    assert before - 1 <= refusal.value.since <= time.time() + 1
    assert Path(sys.argv[0]).name in refusal.value.program


def told(path: Path, record: bytes) -> AlreadyLocked:
    """What a refusal says while this stands in the file."""
    with acquire_spawn_lock(path):
        path.write_bytes(record)
        with pytest.raises(AlreadyLocked) as refusal:
            acquire_spawn_lock(path)
    return refusal.value


def record(**changes: Any) -> bytes:
    return json.dumps({"pid": os.getpid(), "since": 1.7e9, "program": "app.py"} | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"{",
        b"[" * 4000,
        b"1" * 4000,
        b"x" * 10_000_000,
        b"null",
        b"[]",
        record(pid=0),
        record(pid=-1),
        record(pid=True),
        record(pid=2**31),
        record(pid="1"),
        record(since=-1),
        record(since=1e300),
        record(since=float("nan")),
        record(since=float("inf")),
        record(since="now"),
        record(program=7),
        record(started="yesterday"),
        record(boot=1),
        record(started=1, boot="another boot"),
        record(started=1),
        record(pad="x" * 5000),
    ],
)
def test_a_record_that_makes_no_sense_names_nobody(path: Path, content: bytes) -> None:
    """Whatever stands in the file, the refusal is a refusal, and quick."""
    error = told(path, content)
    assert (error.pid, error.since, error.program) == (None, None, "")
    assert "not known" in str(error)


def test_a_record_cannot_speak_to_the_terminal(path: Path) -> None:
    """Nothing but what can be printed is shown, and not much of it."""
    error = told(path, record(program="\x1b[2J\n\u202e" + "x" * 1000))
    assert error.program.startswith("?[2J??xx")
    assert len(error.program) == PROGRAM_SHOWN


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc")
def test_a_later_process_of_the_same_number_is_not_the_holder(path: Path) -> None:
    """A pid is lent: with its start time and the boot it names one process."""
    mine = Holder.me()
    assert mine.lives()
    assert mine.started is not None
    assert told(path, record(started=mine.started, boot=mine.boot)).pid == os.getpid()
    assert told(path, record(started=mine.started + 1, boot=mine.boot)).pid is None
    with subprocess.Popen(["true"]) as process:
        gone = process.pid
    assert told(path, record(pid=gone, started=mine.started, boot=mine.boot)).pid is None


def test_a_system_without_proc_is_believed(path: Path) -> None:
    """Where nobody tells when a process started, the record is all there is."""
    assert told(path, record(started=None, boot=None)).program == "app.py"


def test_an_unreadable_record_names_nobody() -> None:
    """The refusal must not become another error."""
    assert read_holder(-1) is None

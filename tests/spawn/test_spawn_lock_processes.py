"""The spawn lock between processes: held, inherited, left behind by a death, and raced for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_folk._errors import AlreadyLocked
from trio_folk._spawn import acquire_spawn_lock

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys\nfrom trio_folk import acquire_spawn_lock\n"
    "with acquire_spawn_lock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "backend.spawn.lock"


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_another_process_holds_it_until_it_releases(path: Path) -> None:
    """The refusal names that process."""
    with holder(path) as process:
        with pytest.raises(AlreadyLocked) as refusal:
            acquire_spawn_lock(path)
        assert refusal.value.pid == process.pid
        process.communicate("")
        acquire_spawn_lock(path).release()


def test_a_killed_holder_holds_nothing(path: Path) -> None:
    """The kernel releases; the record it left says nothing of the next."""
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.stat().st_size > 0
        with acquire_spawn_lock(path), pytest.raises(AlreadyLocked) as refusal:
            acquire_spawn_lock(path)
        assert refusal.value.pid == os.getpid()


def test_an_executed_child_does_not_inherit_it(path: Path) -> None:
    """The lock is free when its holder released it, whatever it has started meanwhile."""
    with subprocess.Popen(["sleep", "600"], close_fds=False) as before:
        lock = acquire_spawn_lock(path)
        with subprocess.Popen(["sleep", "600"], close_fds=False) as child:
            lock._file.close()  # as a crash would: no explicit unlock
            acquire_spawn_lock(path).release()
            child.kill()
        before.kill()


FORK = """
import os, signal, sys
from trio_folk import LockIdentityError, acquire_spawn_lock
lock = acquire_spawn_lock(sys.argv[1])
told, tell = os.pipe()
if os.fork() == 0:
    try:
        lock.verify()
    except LockIdentityError as error:
        print(error, flush=True)
    lock.release()
    os.write(tell, b".")
    sys.stdin.read()
    os._exit(0)
os.read(told, 1)
lock.verify()
print("held", flush=True)
signal.pause()
"""


def test_a_fork_holds_nothing_and_takes_nothing(path: Path) -> None:
    """It is told so, cannot release its parent's lock, and does not keep it when the parent dies."""
    command = [sys.executable, "-c", FORK, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert "held by its parent" in parent.stdout.readline()
        assert parent.stdout.readline() == "held\n"
        with pytest.raises(AlreadyLocked):
            acquire_spawn_lock(path)
        parent.kill()
        parent.wait()
        acquire_spawn_lock(path).release()  # the fork is still there: it waits for the end of its input


def test_racing_processes_are_never_two_verified_holders() -> None:
    """Eight race for a second while another moves, deletes and makes the file; 32 for 10 s by hand, see the script."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("spawn_lock_race.py")), "8", "1"],
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
    found = json.loads(done.stdout)
    assert (found["overlaps"], found["failed"]) == (0, 0)
    assert found["holders"]["verified after it was lost"] == 0
    for proof in (found["spans"], found["vandal"]["back"], found["holders"]["verify LockDeletedOrRecreated"]):
        assert proof > 10  # there was a race, and it was lost often enough

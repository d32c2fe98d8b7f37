"""A parent that is SIGKILLed leaves nobody: busy workers in any language and their children are gone in a second.

Three rounds, or as many as TRIO_FOLK_ORPHAN_ROUNDS says; ``-s`` shows how long each took. The bound is ten seconds,
for the machine may be busy.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_folk._process import namespace

HERE = Path(__file__).parent
MASTER = HERE.parents[1] / "examples" / "php_fork_master" / "master.php"
ROUNDS = int(os.environ.get("TRIO_FOLK_ORPHAN_ROUNDS", "3"))
BOUND = 10
BUSY = {"namespace": 1, "--frozen": 0}  # workers of a kind; of the others two
WHY_NOT = namespace.why_not()
needs_php = pytest.mark.skipif(
    shutil.which("php") is None, reason="needs PHP: apt-get install php-cli php-msgpack"
)
needs_pidfds = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there is no guardian without pidfds")
pytestmark = [needs_pidfds, pytest.mark.timeout(120 + 10 * ROUNDS)]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker in C, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    path = tmp_path_factory.mktemp("orphans") / "worker"
    subprocess.run(["gcc", "-O2", "-o", str(path), str(HERE / "orphan_worker.c")], check=True)
    return path


def stat(pid: int) -> list[str]:
    """State, parent, group and so on; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"], ["X"])


def descendants(pid: int) -> set[int]:
    parents = {int(name): stat(int(name))[1:2] for name in os.listdir("/proc") if name.isdigit()}
    found: set[int] = set()
    line = {pid}
    while line:
        line = {child for child, parent in parents.items() if parent and int(parent[0]) in line} - found
        found |= line
    return found


def guardian_of(pid: int) -> int | None:
    """The child whose command line says so."""
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if f"of process {pid}" in words:
            return child
    return None


def replace_guardian_of(pid: int) -> None:
    """Kill it, and return when there is another."""
    first = guardian_of(pid)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: guardian_of(pid) not in (None, first), "the guardian is not replaced")


def wait_for(condition: Callable[[], bool], what: str, bound: float = 60) -> None:
    deadline = time.monotonic() + bound
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@contextmanager
def parent(directory: Path, *workers: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose workers are busy."""
    directory.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    command = [sys.executable, str(HERE / "orphans_parent.py"), str(directory), *workers]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wanted = sum(BUSY.get(worker.partition("=")[0], 2) for worker in workers)
            wait_for(
                lambda: process.poll() is not None or len(list(directory.glob("[!.]*"))) == wanted,
                "the workers are not busy",
            )
            assert process.poll() is None, "the parent has failed"
            if "--frozen" not in workers:  # it is launched beside the first worker, and no sooner
                wait_for(lambda: guardian_of(process.pid) is not None, "there is no guardian")
            yield process
        finally:
            process.kill()


def kill_and_time(process: subprocess.Popen[bytes]) -> float:
    """Seconds from the parent's end until the last of all its descendants is gone."""
    pids = descendants(process.pid)
    assert all(alive(pid) for pid in pids)
    try:
        process.kill()
        process.wait()
        killed = time.monotonic()
        wait_for(lambda: not any(alive(pid) for pid in pids), "some outlived the parent", BOUND)
        return time.monotonic() - killed
    finally:
        end(pids)


def end(pids: set[int]) -> None:
    """Leave none of them behind, whatever the test found."""
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids), "even SIGKILL did not end them", BOUND)


def report(times: list[float]) -> None:
    middle, worst = statistics.median(times) * 1e3, max(times) * 1e3
    print(f"{len(times)} rounds: all gone {middle:.1f} ms after the parent, at worst {worst:.1f} ms")


@needs_php
@pytest.mark.parametrize("guardian_first", [False, True])
def test_workers_in_any_language_die_with_their_parent(
    tmp_path: Path, program: Path, guardian_first: bool
) -> None:
    """Python in a C call that holds the interpreter, PHP and C, each with a child; the guardian replaced or not."""
    times = []
    for number in range(ROUNDS):
        workers = ["python", f"php={HERE / 'orphan_worker.php'}", f"program={program}"]
        with parent(tmp_path / str(number), *workers) as process:
            assert len(descendants(process.pid)) == 2 * 2 * 3 + 1
            if guardian_first:
                replace_guardian_of(process.pid)
            times.append(kill_and_time(process))
    report(times)


@needs_php
def test_forked_workers_their_zygotes_and_masters_die_with_their_parent(tmp_path: Path) -> None:
    """Forked by our zygote or by a master in PHP: they are no children of the parent, and are ended all the same."""
    times = []
    for number in range(ROUNDS):
        with parent(tmp_path / str(number), "fork", f"php-fork={MASTER}") as process:
            assert len(descendants(process.pid)) == 1 + (1 + 2 * 2) + (1 + 2)
            times.append(kill_and_time(process))
    report(times)


@pytest.mark.skipif(WHY_NOT is not None, reason=f"no pid namespaces here: {WHY_NOT}")
@pytest.mark.parametrize("guardian_first", [False, True])
def test_in_a_pid_namespace_even_those_that_left_the_group_die(
    tmp_path: Path, program: Path, guardian_first: bool
) -> None:
    """A child that called setsid goes with its worker; the guardian replaced or not."""
    times = []
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        with parent(directory, f"namespace={program}") as process:
            assert len(descendants(process.pid)) == 1 + 4
            if guardian_first:
                replace_guardian_of(process.pid)
            times.append(kill_and_time(process))
    report(times)


def test_without_a_guardian_they_outlive_it(tmp_path: Path, program: Path) -> None:
    """In a program that can have none, the worker in C and its child are still there: these tests can fail."""
    with parent(tmp_path / "none", f"program={program}", "--frozen") as process:
        pids = descendants(process.pid)
        try:
            assert len(pids) == 2 * 2
            process.kill()
            process.wait()
            time.sleep(0.5)
            assert {pid for pid in pids if alive(pid)} == pids
        finally:
            end(pids)

"""Real processes, bounded by pytest's timeout; after every test no child and no descriptor may be left.

Scripts are `sh`, which starts in a millisecond. A script that must have come to a point says so on its standard
output, and the test reads that line: nobody sleeps and hopes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from trio_folk._process import Process, ProcessSpec, exits, launch, libc, portable

ROOT = Path(__file__).parents[2]


def open_descriptors() -> set[int]:
    """The numbers open in this process, without the one that looks."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def has_children() -> bool:
    """Whether this process has a child, running or dead."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test of this room leaves a child or a descriptor."""
    before = open_descriptors()
    yield
    assert not has_children()
    assert open_descriptors() == before


@pytest.fixture(params=["pidfd", "thread"])
def notice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which an exit is noticed."""
    if request.param == "thread":
        monkeypatch.setattr(exits, "open_pidfd", lambda pid: None)
    return str(request.param)


@pytest.fixture(params=["libc", "portable"])
def launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a process is made."""
    if request.param == "libc" and not libc.available():
        pytest.skip("needs glibc 2.34")
    monkeypatch.setattr(launch, "spawn", {"libc": libc.spawn, "portable": portable.spawn}[request.param])
    return str(request.param)


@pytest.fixture
def sh() -> Callable[..., ProcessSpec]:
    """A spec that runs a shell script."""
    return lambda script, **how: ProcessSpec(argv=("sh", "-c", script), **how)


@pytest.fixture
def read() -> Callable[[int], object]:
    """``await read(fd)``: what comes from a non-blocking descriptor, to its end."""

    async def read(fd: int) -> bytes:
        found = b""
        while True:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(fd)
                continue
            if not data:
                return found
            found += data

    return read


@pytest.fixture
def line() -> Callable[[Process], object]:
    """``await line(process)``: the next line of its standard output."""

    async def line(process: Process) -> str:
        found = b""
        while not found.endswith(b"\n"):
            await trio.lowlevel.wait_readable(process.stdout_fd)
            byte = os.read(process.stdout_fd, 1)
            assert byte, f"end of output after {found!r}"
            found += byte
        return found.decode().strip()

    return line


@pytest.fixture
def census() -> Callable[[], tuple[bool, set[int]]]:
    """``census()``: whether there are children, and which descriptors are open."""
    return lambda: (has_children(), open_descriptors())


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """``alive(pid)``: whether there is such a process, and it is not a zombie."""
    return lives


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[..., str]:
    """``fresh_python(source, *args)``: what the script printed, in an interpreter that owns no descriptor yet."""

    def run(source: str, *args: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(source)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script), *args],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

"""What a new process is given, and what it is not; the same for both launchers."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_folk import _errors
from trio_folk._process import ProcessSpec, launch, open_process, portable

MATRIX = """
import fcntl, os, socket, sys
from trio_folk._process import ProcessSpec, exits, launch, libc, portable
from trio_folk._process.plan import Plan

launch.spawn = {"libc": libc.spawn, "portable": portable.spawn}[sys.argv[1]]
SCRIPT = "echo task >&3; echo control >&4; exec ls /proc/self/fd"

def lifted(sock):
    number = fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 20)
    sock.close()
    return number

def pair(number):
    "Our end as a socket, far up, and the child's end at this number; None for one far up too."
    ours, end = map(lifted, socket.socketpair())
    if number is not None:
        os.dup2(end, number, inheritable=False)
        os.close(end)
    return socket.socket(fileno=ours), number or end

def case(task, control, taken):
    used = [pair(task), pair(control)]
    for number in (3, 4):
        if taken and number not in (task, control):
            used.append((None, os.dup2(0, number)))
    plan = Plan.of(ProcessSpec(argv=("sh", "-c", SCRIPT), fds={3: used[0][1], 4: used[1][1]}))
    made = launch.launch(plan)
    for _, end in used:
        os.close(end)
    heard = [ours.recv(100).decode().strip() for ours, _ in used[:2]]
    os.set_blocking(made.stdout_fd, True)
    listing = os.read(made.stdout_fd, 1000).decode().split()
    for ours, _ in used[:2]:
        assert ours.recv(100) == b""
        ours.close()
    while exits.look(made.pid, made.pidfd) is None:
        pass
    exits.reap(made.pid)
    for descriptor in (made.pidfd, made.stdout_fd, made.stderr_fd):
        os.close(descriptor)
    return heard, sorted(listing)

def clean():
    return [number for number in range(3, 100) if os.path.exists(f"/proc/self/fd/{number}")]

assert not clean(), clean()
for task, control in [(3, 4), (4, 3), (3, None), (4, None), (None, 3), (None, 4), (None, None)]:
    for taken in (False, True):
        got = case(task, control, taken)
        # the 5 is the directory that ls reads
        if got != (["task", "control"], ["0", "1", "2", "3", "4", "5"]):
            print(task, control, taken, got)
        assert not clean(), (task, control, taken, clean())

saved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 200) for number in range(3)]
os.closerange(0, 3)  # as a daemon does
got = case(None, 3, False)
for number, copy in enumerate(saved):
    os.dup2(copy, number)
    os.close(copy)
if got != (["task", "control"], ["0", "1", "2", "3", "4", "5"]):
    print("closed", got)
assert not clean(), clean()
"""


def test_channels_arrive_whatever_numbers_the_parent_has(fresh_python, launcher: str) -> None:
    """Defect A1: each child end at 3, at 4 or high, with the rest of 3 and 4 free or taken; and in a daemon."""
    assert fresh_python(MATRIX, launcher) == ""


async def output_of(spec: ProcessSpec, read) -> bytes:
    async with open_process(spec) as process:
        printed = await read(process.stdout_fd)
        await process.wait()
    return printed


async def test_nothing_else_is_inherited(sh, read, launcher: str) -> None:
    """Descriptors that the parent made inheritable on purpose, below the numbers it gets and above, do not arrive."""
    low, high = os.dup(0), fcntl.fcntl(0, fcntl.F_DUPFD, 300)
    try:
        os.set_inheritable(low, True)
        assert os.get_inheritable(high)
        printed = await output_of(sh("exec ls /proc/self/fd", fds={70: 0}), read)
    finally:
        os.close(low), os.close(high)
    assert printed.split() == [b"0", b"1", b"2", b"3", b"70"]  # 3 is the directory that ls reads


async def test_far_number_arrives_and_the_holes_are_closed(sh, read, launcher: str) -> None:
    """A number above those that descriptors are lifted to is reached too."""
    reader, writer = os.pipe()
    try:
        printed = await output_of(sh("exec ls /proc/self/fd", fds={50: writer, 12: writer}), read)
    finally:
        os.close(reader), os.close(writer)
    assert printed.split() == [b"0", b"1", b"12", b"2", b"3", b"50"]


async def test_standard_input_is_empty(read, launcher: str) -> None:
    """A worker that reads its standard input gets the end of file, not the parent's terminal."""
    assert await output_of(ProcessSpec(argv=("readlink", "/proc/self/fd/0")), read) == b"/dev/null\n"


async def test_signal_mask_and_dispositions_are_reset(
    read, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the launching thread blocks and the parent ignores (Python: SIGPIPE, SIGXFSZ) is not passed on."""
    spawn = launch.spawn

    def masked(*args: Any) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
        try:
            return spawn(*args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    monkeypatch.setattr(launch, "spawn", masked)
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        printed = await output_of(ProcessSpec(argv=("cat", "/proc/self/status")), read)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    status = dict(row.split(":", 1) for row in printed.decode().splitlines())
    assert int(status["SigBlk"], 16) == 0
    # 32 and 33 are glibc's own, which its posix_spawn ignores in the child
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0


async def test_process_leads_a_group_of_its_own(launcher: str) -> None:
    """Ctrl-C at the terminal reaches the parent only, and the group can be signalled as one."""
    async with open_process(ProcessSpec(argv=("sleep", "100"))) as process:
        assert os.getpgid(process.pid) == process.pid != os.getpgrp()


async def test_environment_is_extended_or_replaced(
    read, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    """`env` adds to the environment of the moment, or with `replace_env` is all of it."""
    monkeypatch.setenv("FOLK_TEST_A", "parent")
    monkeypatch.setenv("FOLK_TEST_B", "parent")
    env = {"FOLK_TEST_B": "child", "FOLK_TEST_C": "grün"}
    extended = await output_of(ProcessSpec(argv=("env",), env=env), read)
    replaced = await output_of(ProcessSpec(argv=("env",), env=env, replace_env=True), read)
    mine = {row for row in extended.decode().splitlines() if row.startswith("FOLK_TEST_")}
    assert mine == {"FOLK_TEST_A=parent", "FOLK_TEST_B=child", "FOLK_TEST_C=grün"}
    assert set(replaced.decode().splitlines()) == {"FOLK_TEST_B=child", "FOLK_TEST_C=grün"}


async def test_arguments_arrive_byte_for_byte(read, launcher: str) -> None:
    """Arguments are bytes: neither a shell nor UTF-8 stands in between."""
    words = (b"\xff\xfe raw", "sp ace", "", "grün", "$HOME *")
    printed = await output_of(ProcessSpec(argv=("printf", "[%s]", *words)), read)
    assert printed == b"[\xff\xfe raw][sp ace][][gr\xc3\xbcn][$HOME *]"


async def test_cwd_is_where_it_starts(read, tmp_path: Path) -> None:
    """cwd may be a path object or bytes, and a relative program starts there."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    here = os.fsencode(tmp_path) + b"\n"
    assert await output_of(ProcessSpec(argv=("pwd",), cwd=tmp_path), read) == here
    assert await output_of(ProcessSpec(argv=("./program",), cwd=os.fsencode(tmp_path)), read) == here


@pytest.mark.parametrize("launcher", ["portable"], indirect=True)
async def test_launcher_without_cwd_says_so(tmp_path: Path, launcher: str) -> None:
    """Where posix_spawn cannot change the directory, nothing starts in the wrong one."""
    with pytest.raises(_errors.BootFailed, match="cannot set the working directory"):
        async with open_process(ProcessSpec(argv=("pwd",), cwd=tmp_path)):
            raise AssertionError("launched")


async def test_launches_at_once_are_bounded(sh) -> None:
    """No more launches run at the same time than the limiter has tokens."""
    limiter = trio.CapacityLimiter(1)
    async with limiter:
        with trio.move_on_after(0.05) as scope:
            async with open_process(sh("true"), limiter=limiter):
                raise AssertionError("launched")
    assert scope.cancelled_caught
    async with open_process(sh("exit 4"), limiter=limiter) as process:
        assert (await process.wait()).code == 4


BLOCKED = """
import errno, os, sys, time, trio
from trio_folk._process import ProcessSpec, libc, open_process

async def launch(done):
    async with open_process(ProcessSpec(argv=("true",))) as process:
        await process.wait()
    done.set()

async def main(path):
    libc._STDIN = path
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(launch, done)
        while True:
            try:
                writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                assert error.errno == errno.ENXIO  # nobody opens it for reading yet
            await trio.sleep(0.001)
        await done.wait()
    os.close(writer)
    print("done")

os.mkfifo(sys.argv[1])
trio.run(main, sys.argv[1])
"""


@pytest.mark.parametrize("launcher", ["libc"], indirect=True)
def test_interpreter_runs_on_while_a_launch_blocks(fresh_python, tmp_path: Path, launcher: str) -> None:
    """The new process waits for a FIFO that only this interpreter can open: holding the GIL would be a deadlock."""
    assert fresh_python(BLOCKED, str(tmp_path / "fifo")) == "done\n"


def test_python_without_ctypes_has_the_portable_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter built without libffi can still launch."""
    monkeypatch.delattr("trio_folk._process.libc")
    monkeypatch.setitem(sys.modules, "trio_folk._process.libc", None)
    assert launch._launcher() is portable.spawn

"""A process in a pid namespace of its own ends as itself, whatever it has started ends with it, and nothing else shows.

The scripts say "ready" when they have come so far. What has left the group is known by the number of seconds that it
sleeps, which nothing else on the machine does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from trio_folk import BootFailed
from trio_folk._process import Process, ProcessSpec, group, namespace, open_process, pid1, worker_of
from trio_folk.abc import WorkerExit

WHY_NOT = namespace.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"no pid namespaces here: {WHY_NOT}")
ROOT = Path(__file__).parents[2]
HOLDS_NOTHING = "SigBlk:\t0000000000000000"
# a child in the group, and one that leaves it
FAMILY = "sleep 3600 & setsid sh -c 'echo escaped; exec sleep {0}' & "


def inside(script: str, **how: object) -> ProcessSpec:
    """A spec that runs a shell script in a namespace."""
    return ProcessSpec(argv=("sh", "-c", script), pid_namespace=True, **how)


def sleepers(seconds: str) -> set[int]:
    """The pids of all that sleep for so long."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                found.add(int(entry.name))
        except OSError:
            continue  # gone since it was listed
    return found


@pytest.fixture
def seconds() -> Iterator[str]:
    """How long the one that has left its group sleeps; it is ended, whatever the test has found."""
    seconds = f"3{secrets.randbelow(10**9):09}"
    yield seconds
    for pid in sleepers(seconds):
        os.kill(pid, signal.SIGKILL)


async def end_of(script: str, **how: object) -> WorkerExit:
    async with open_process(inside(script, **how)) as process:
        return await process.wait()


async def line_in_time(read_line: object, process: Process) -> str:
    with trio.fail_after(60):
        return await read_line(process)


# -- how it ends


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 0", WorkerExit(code=0)),
        ("exit 3", WorkerExit(code=3)),
        ("exit 139", WorkerExit(code=139)),
        ("ulimit -c 0; kill -SEGV $$", WorkerExit(signal="SIGSEGV")),
        ("kill -KILL $$", WorkerExit(signal="SIGKILL")),
        ("kill -TERM $$", WorkerExit(signal="SIGTERM")),
        ("kill -INT $$", WorkerExit(signal="SIGINT")),
        ("kill -40 $$", WorkerExit(signal="signal 40")),
    ],
)
async def test_its_end_is_told_as_it_was(script: str, how: WorkerExit) -> None:
    """Status or signal, and one is not taken for the other."""
    assert await end_of(script) == how


async def test_sigterm_gives_it_the_time_to_clean_up(line) -> None:
    """The signal comes to the program, and ends nobody around it."""
    script = (
        "trap 'echo cleaning; sleep 0.2; echo cleaned; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    )
    async with open_process(inside(script)) as process:
        assert await line_in_time(line, process) == "ready"
        process.signal_group(signal.SIGTERM)
        assert await line_in_time(line, process) == "cleaning"
        assert await line_in_time(line, process) == "cleaned"
        assert await process.wait() == WorkerExit(code=7)


async def test_a_signal_at_any_moment_of_the_launch_ends_it() -> None:
    """Before there is a namespace, before the program runs, and after: none is lost, and the end is that signal's."""
    for moment in range(25):
        async with open_process(inside("exec sleep 3600")) as process:
            with trio.fail_after(60):
                await trio.sleep(moment * 1e-3)
                process.signal_group(signal.SIGTERM)
                assert await process.wait() == WorkerExit(signal="SIGTERM")


async def test_a_signal_just_before_the_program_is_there_ends_it() -> None:
    """The outer process has it and no other: it is passed on."""
    for _ in range(20):
        async with open_process(inside("exec sleep 3600")) as process:
            come_to_the_forks(process)
            process.signal_group(signal.SIGTERM)
            with trio.fail_after(60):
                assert await process.wait() == WorkerExit(signal="SIGTERM")


async def test_killed_just_before_the_program_is_there_it_leaves_nobody() -> None:
    """The first process sees that the kernel would not tell it any more."""
    for _ in range(20):
        async with open_process(inside("exec sleep 3600")) as process:
            come_to_the_forks(process)
            process.signal(signal.SIGKILL)
            with trio.fail_after(60):
                while group._has_live_members(process.pid):
                    await trio.sleep(0.005)


def come_to_the_forks(process: Process) -> None:
    """Return when the outer process holds back signals, or a little later."""
    deadline = time.monotonic() + 60
    while worker_of(process.pid) is None and HOLDS_NOTHING in Path(f"/proc/{process.pid}/status").read_text():
        assert time.monotonic() < deadline


async def test_killed_at_any_moment_of_the_launch_it_leaves_nobody(seconds: str) -> None:
    """Also before the first process would be told by the kernel that the outer one is gone."""
    for moment in range(25):
        async with open_process(inside(f"exec sleep {seconds}")) as process:
            await trio.sleep(moment * 1e-3)
            process.signal(signal.SIGKILL)
            assert await process.wait() == WorkerExit(signal="SIGKILL")
        assert sleepers(seconds) == set()


async def test_what_the_program_ignores_ends_nobody(line, read) -> None:
    """Every signal that a group may be sent by a terminal, a service manager or a hand."""
    ignored = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "ABRT"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = f"trap '' {' '.join(ignored)}; echo ready; read rest <&3; exit 5"
        async with open_process(inside(script, fds={3: theirs.fileno()})) as process:
            theirs.close()
            assert await line_in_time(line, process) == "ready"
            for name in ignored:
                process.signal_group(getattr(signal, f"SIG{name}"))
            process.signal(signal.SIGTERM)
            ours.send(b"go on\n")
            assert await process.wait() == WorkerExit(code=5)


async def test_a_group_that_is_stopped_goes_on(line) -> None:
    """SIGSTOP and SIGCONT reach the program with those around it."""
    async with open_process(
        inside("trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done")
    ) as process:
        assert await line_in_time(line, process) == "ready"
        for sig in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
            process.signal_group(sig)
        with trio.fail_after(60):
            assert await process.wait() == WorkerExit(code=8)


# -- what ends with it


async def test_what_left_its_group_is_gone_before_its_end_is_told(line, seconds: str) -> None:
    """It ended by itself: who waits for that finds nobody any more."""
    async with open_process(inside(FAMILY.format(seconds) + "wait")) as process:
        assert await line_in_time(line, process) == "escaped"
        await wait_for_sleepers(seconds)
        worker = worker_of(process.pid)
        assert worker is not None
        os.kill(worker, signal.SIGUSR1)
        assert await process.wait() == WorkerExit(signal="SIGUSR1")
        assert sleepers(seconds) == set()


@pytest.mark.parametrize("who", ["nobody", "outer", "first", "group"])
async def test_what_left_its_group_is_gone_after_the_block(line, seconds: str, who: str) -> None:
    """However it came to its end: the block was left, or one of ours was killed, or all of them."""
    async with open_process(inside(FAMILY.format(seconds) + "wait")) as process:
        assert await line_in_time(line, process) == "escaped"
        await wait_for_sleepers(seconds)
        match who:
            case "outer":
                process.signal(signal.SIGKILL)
            case "first":
                os.kill(namespace._first_child_of(process.pid) or 0, signal.SIGKILL)
            case "group":
                process.signal_group(signal.SIGKILL)
        if who != "nobody":
            assert await process.wait() == WorkerExit(signal="SIGKILL")
            with trio.fail_after(60):  # of itself, before the block kills the group
                while sleepers(seconds):
                    await trio.sleep(0.005)
    assert sleepers(seconds) == set()


async def test_without_a_namespace_it_stays(line, seconds: str) -> None:
    """So the tests above can fail."""
    spec = ProcessSpec(argv=("sh", "-c", FAMILY.format(seconds) + "wait"))
    async with open_process(spec) as process:
        assert await line_in_time(line, process) == "escaped"
        await wait_for_sleepers(seconds)
    assert len(sleepers(seconds)) == 1


async def wait_for_sleepers(seconds: str) -> None:
    with trio.fail_after(60):
        while not sleepers(seconds):
            await trio.sleep(0.005)


async def test_orphans_are_reaped_and_end_nobody(line) -> None:
    """What has lost its parent ends; the program goes on, and no zombie stays."""
    script = "sh -c 'sleep 0.2 & sleep 0.2 &'; echo ready; exec sleep 3600"
    async with open_process(inside(script)) as process:
        assert await line_in_time(line, process) == "ready"
        first = namespace._first_child_of(process.pid)
        worker = worker_of(process.pid)
        with trio.fail_after(60):
            while Path(f"/proc/{first}/task/{first}/children").read_text().split() != [str(worker)]:
                await trio.sleep(0.005)
        assert process.exit is None


# -- what it finds


async def test_it_is_the_second_process_of_its_namespace(line) -> None:
    """And not the first, which SIGTERM does not reach."""
    async with open_process(inside("echo $$ $PPID; read rest")) as process:
        assert await line_in_time(line, process) == "2 1"


async def test_its_arguments_environment_directory_and_signals_are_as_without(tmp_path: Path, read) -> None:
    """No word, variable or disposition of the interpreter's around it comes through, whatever bytes are in them."""
    script = 'printf "%s|" "$0" "$@"; pwd; tr "\\0" "\\n" < /proc/self/environ; grep -E "Sig(B|I|C)" /proc/self/status'
    said = []
    for pid_namespace in (False, True):
        spec = ProcessSpec(
            argv=("sh", "-c", script, "a b", b"\xff\xfe", "", "-c"),
            env={"A": "b=c", "PATH": os.environ["PATH"], "N": "\udcff"},
            replace_env=True,
            cwd=tmp_path,
            pid_namespace=pid_namespace,
        )
        async with open_process(spec) as process:
            with trio.fail_after(60):
                said.append(await read(process.stdout_fd))
                assert await read(process.stderr_fd) == b""
    assert said[0] == said[1]
    assert b"\xff\xfe" in said[1]
    assert str(tmp_path).encode() in said[1]


async def test_the_end_of_its_streams_is_seen_while_it_runs(line, read) -> None:
    """The two processes around it hold neither a channel nor the standard output."""
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
        ours.setblocking(False)
        script = "echo ready; exec 3<&- >&-; read rest; exec sleep 3600"
        async with open_process(inside(script, fds={3: theirs.fileno(), 9: theirs.fileno()})) as process:
            theirs.close()
            with trio.fail_after(60):
                assert await read(process.stdout_fd) == b"ready\n"
                with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
                    await read(ours.fileno())  # the program still has it as 9
            assert process.exit is None
            worker = worker_of(process.pid)
            assert worker is not None
            os.kill(worker, signal.SIGKILL)
            assert await read(ours.fileno()) == b""


async def test_the_worker_is_found_from_outside(line) -> None:
    """By its pid here, while it lives."""
    async with open_process(inside("echo ready; exec sleep 3600")) as process:
        assert await line_in_time(line, process) == "ready"
        pid = worker_of(process.pid)
        assert pid is not None
        with trio.fail_after(60):
            while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
                await trio.sleep(0.005)
        assert "\t2\n" in Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2]
        process.signal_group(signal.SIGKILL)
        await process.wait()
    assert worker_of(process.pid) is None


# -- without privileges, and where it is not allowed


@pytest.mark.skipif(os.getuid() != 0, reason="all the other tests are without privileges already")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: apt-get install util-linux")
async def test_without_privileges_it_gets_a_user_namespace_too(read, seconds: str, line) -> None:
    """In which it is who it was."""
    less = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    script = f"id -u; cat /proc/self/uid_map; {FAMILY.format(seconds)}wait"
    argv = (*less, sys.executable, "-I", "-S", pid1.__file__, "/bin/sh", "sh", "-c", script)
    async with open_process(ProcessSpec(argv=argv)) as process:
        assert await line_in_time(line, process) == "0"
        assert (await line_in_time(line, process)).split() == ["0", "0", "1"]
        assert await line_in_time(line, process) == "escaped"
        await wait_for_sleepers(seconds)
    assert sleepers(seconds) == set()


REFUSED = """
import trio
from trio_folk._errors import BootFailed
from trio_folk._process import ProcessSpec, open_process
async def main():
    try:
        async with open_process(ProcessSpec(argv=("true",), pid_namespace=True)):
            print("launched")
    except BootFailed as error:
        print(error.stage, error.message, error.hint, sep="; ")
trio.run(main)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare: apt-get install util-linux")
def test_where_it_is_not_allowed_the_launch_says_what_to_do() -> None:
    """In a user namespace that may have no pid namespaces: the kernel's own refusal."""
    forbid = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", sys.executable, "-c", REFUSED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "launch; no pid namespace for the worker: unshare: No space left on device; allow" in done.stdout
    assert "user.max_pid_namespaces" in done.stdout
    assert "isolation='group'" in done.stdout


def test_a_success_is_remembered_and_a_failure_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may allow it meanwhile."""
    answers = ["not yet", None]
    monkeypatch.setattr(namespace, "_allowed", False)
    monkeypatch.setattr(namespace, "_try", lambda: answers.pop(0))
    assert [namespace.why_not() for _ in range(3)] == ["not yet", None, None]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("platform", "darwin", "only Linux"),
        ("executable", "", "interpreter of its own"),
        ("executable", "/no/such/python", "No such file"),
        ("executable", "/bin/false", "ended with status 1"),
    ],
)
def test_whatever_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """In the message, while the hint is the same."""
    monkeypatch.setattr(namespace, "_allowed", False)
    monkeypatch.setattr(sys, name, value)
    with pytest.raises(BootFailed, match=words):
        namespace.require()


async def test_a_program_that_is_not_there_is_refused_as_without() -> None:
    """Before anything is launched."""
    with pytest.raises(BootFailed, match="cannot launch 'no-such-program'"):
        async with open_process(ProcessSpec(argv=("no-such-program",), pid_namespace=True)):
            pytest.fail("it was launched")


async def test_a_program_that_cannot_be_executed_says_so(tmp_path: Path, read) -> None:
    """Only the kernel knows that its interpreter is missing: status 127, and a line of standard error."""
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    async with open_process(ProcessSpec(argv=(str(program),), pid_namespace=True)) as process:
        assert await process.wait() == WorkerExit(code=127)
        assert f"cannot execute '{program}'".encode() in await read(process.stderr_fd)

"""The guardian: told of every process, it ends them with their parent; it is replaced, and goes with its last user.

That a killed parent leaves nobody is shown by tests/faults/test_faults_orphans.py.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from trio_folk._process import Process, ProcessSpec, guard, guardian, launch, open_guardian, open_process
from trio_folk._process.guard import Guard
from trio_folk._process.wards import Wards

SLEEPS = ProcessSpec(argv=("sleep", "100"))
FAMILY = "sleep 100 & echo $!; wait"
BOUND = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there is no guardian without pidfds")


@contextmanager
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that leads a group, and its child's pid."""
    argv = ["sh", "-c", FAMILY]
    with subprocess.Popen(argv, process_group=0, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        try:
            yield leader, int(leader.stdout.readline())
        finally:
            with suppress(ProcessLookupError):
                os.killpg(leader.pid, signal.SIGKILL)


@contextmanager
def hearing() -> Iterator[tuple[socket.socket, guardian.Guardian]]:
    """The parent's end of a channel, and the guardian at the other. It closes nothing, for it ends with its process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = guardian._socket.socket(fileno=theirs.detach())
    mine = guardian.Guardian(channel)
    with ours:
        try:
            yield ours, mine
        finally:
            channel.close()
            for descriptor in (*mine._parents, *(pidfd for pidfd, _ in mine._wards.values())):
                os.close(descriptor)


@contextmanager
def listening() -> Iterator[tuple[socket.socket, Callable[[], int]]]:
    """The parent's end of a channel to a guardian in a thread, and what waits for its end."""
    counts: list[int] = []
    with hearing() as (ours, mine):
        thread = threading.Thread(target=lambda: counts.append(mine.run()))

        def ended() -> int:
            thread.join(BOUND)
            return counts[0]

        thread.start()
        try:
            yield ours, ended
        finally:
            ours.close()
            thread.join(BOUND)


@contextmanager
def pidfd_of(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def known_to(pid: int) -> set[int]:
    """The processes whose descriptors this one holds."""
    found = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):  # closed since it was listed
            found |= {int(line[4:]) for line in file.read_text().splitlines() if line.startswith("Pid:")}
    return found


async def until_it_knows(keeper: Guard, *pids: int) -> Process:
    """The guardian, once it knows these processes and its parent, and no others."""
    with trio.fail_after(BOUND):
        while True:
            await keeper.launched.wait()
            if keeper.process is not None and known_to(keeper.process.pid) == {os.getpid(), *pids}:
                return keeper.process
            await trio.sleep(0.005)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(BOUND):
        while not condition():
            await trio.sleep(0.005)


# -- what it does


@pytest.mark.parametrize("leader_lives", [True, False])
def test_a_parents_end_ends_the_groups_that_were_told(alive, leader_lives: bool) -> None:
    """The leader and its child die; also the child alone, of a leader that was reaped before."""
    with family() as (leader, child), pidfd_of(leader.pid) as pidfd, listening() as (channel, ended):
        wards = Wards()
        wards.connect(channel)
        wards.add(leader.pid, pidfd)
        if not leader_lives:
            leader.kill()
            leader.wait()
            assert alive(child)
        channel.close()
        assert ended() == 1
        leader.wait(BOUND)
        wait_for_death(alive, child)


def wait_for_death(alive: Callable[[int], bool], pid: int) -> None:
    for _ in range(BOUND * 100):
        if not alive(pid):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{pid} lives")


def test_what_is_gone_or_was_never_told_is_left_alone() -> None:
    """Only one of three processes is still a ward when the parent ends."""
    with family() as (never, _), family() as (gone, _), family() as (ward, _):
        with pidfd_of(gone.pid) as first, pidfd_of(ward.pid) as second, listening() as (channel, ended):
            wards = Wards()
            number = wards.add(gone.pid, first)
            wards.add(ward.pid, second)
            wards.connect(channel)
            wards.remove(number)
            channel.close()
            assert ended() == 1
            assert ward.wait(BOUND) == -signal.SIGKILL
            assert never.poll() is gone.poll() is None


def test_a_socket_that_somebody_else_holds_hides_no_parents_end() -> None:
    """A copy of it stays open, but the parent's own pidfd tells."""
    with family() as (parent, _), family() as (ward, _), listening() as (channel, ended):
        with pidfd_of(parent.pid) as first, pidfd_of(ward.pid) as second:
            wards = Wards()
            wards.connect(channel)
            data = guardian.PARENT + guardian.RECORD.pack(0, parent.pid)
            socket.send_fds(channel, [data], [first])
            wards.add(ward.pid, second)
            parent.kill()
            assert ended() == 1
            assert ward.wait(BOUND) == -signal.SIGKILL


@pytest.mark.parametrize("reaped", [False, True])
def test_old_kernels_kill_by_number_while_it_is_the_leaders(
    monkeypatch: pytest.MonkeyPatch, alive, reaped: bool
) -> None:
    """Without PIDFD_SIGNAL_PROCESS_GROUP: the group of a leader that is not reaped, and no other."""
    real = signal.pidfd_send_signal

    def before_6_9(pidfd: int, sig: int, info: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(pidfd, sig)

    monkeypatch.setattr(guardian._signal, "pidfd_send_signal", before_6_9)
    with family() as (leader, child), pidfd_of(leader.pid) as pidfd:
        leader.kill()
        if reaped:
            leader.wait()
        else:
            os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        guardian.kill(pidfd, leader.pid)
        if reaped:
            assert alive(child)
        else:
            wait_for_death(alive, child)


@pytest.mark.parametrize("data", [b"?", guardian.TOLD + b"short", guardian.TOLD + guardian.RECORD.pack(1, 1)])
def test_what_it_does_not_understand_ends_it(data: bytes) -> None:
    """An unknown message, a cut record, a process without its descriptor: an error, and no guess."""
    with hearing() as (channel, mine):
        channel.send(data)
        with pytest.raises((OSError, ValueError, guardian.struct.error)):
            mine.run()


def test_a_full_socket_keeps_nobody_waiting_and_loses_nothing() -> None:
    """Two thousand wards, nobody listening: some wait, and are told when there is room."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pidfd_of(os.getpid()) as pidfd:
        wards = Wards()
        wards.connect(ours)
        numbers = [wards.add(os.getpid(), pidfd) for _ in range(2000)]
        assert wards.stuck.is_set()
        for number in numbers[:1000]:
            wards.remove(number)
        known: set[int] = set()
        theirs.setblocking(False)
        while wards.stuck.is_set():
            hear_all(theirs, known)
            wards.tell()
        hear_all(theirs, known)
        assert known == set(numbers[1000:])


def hear_all(channel: socket.socket, known: set[int]) -> None:
    while True:
        try:
            data, given, _, _ = socket.recv_fds(channel, 4096, guardian.AT_ONCE)
        except BlockingIOError:
            return
        for descriptor in given:
            os.close(descriptor)
        numbers = {number for number, _ in guardian.RECORD.iter_unpack(data[1:])}
        if data[:1] == guardian.TOLD:
            known |= numbers
        elif data[:1] == guardian.GONE:
            assert numbers <= known
            known -= numbers


def test_it_imports_nothing_that_it_does_not_need() -> None:
    """It starts beside a worker that is starting too: none of ours, and neither enum nor socket."""
    imports = f"import sys, os; known = set(sys.modules); exec(open({guardian.__file__!r}).read(), {{'__name__': ''}})"
    code = f"{imports}; print(*sys.modules.keys() - known)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"select", "struct", "_struct", "_socket", "_signal"}


# -- how it is kept


async def test_it_is_told_of_each_process_while_that_runs() -> None:
    """Nobody needs one: there is none. Then it knows each process from its launch to its end."""
    async with open_guardian() as keeper:
        await trio.testing.wait_all_tasks_blocked()
        assert keeper.process is None
        async with open_process(SLEEPS) as first:
            found = await until_it_knows(keeper, first.pid)
            async with open_process(SLEEPS) as second:
                assert await until_it_knows(keeper, first.pid, second.pid) is found
            assert await until_it_knows(keeper, first.pid) is found
        await until_it_knows(keeper)
    assert keeper.process is None


async def test_a_guardian_that_dies_is_replaced_and_told_anew(
    caplog: pytest.LogCaptureFixture, alive
) -> None:
    """Killed twice, it is back twice, and knows whom its predecessors knew; the processes are unharmed."""
    async with open_guardian() as keeper, open_process(SLEEPS) as process:
        for _ in range(2):
            found = await until_it_knows(keeper, process.pid)
            os.kill(found.pid, signal.SIGKILL)
            await until(lambda: keeper.process is not found)  # noqa: B023
        await until_it_knows(keeper, process.pid)
        assert process.exit is None
    assert [
        record.getMessage().count("was killed by SIGKILL; it is replaced") for record in caplog.records
    ] == [1, 1]


async def test_a_guardian_that_fails_tells_why_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What it does not understand ends it; its traceback is in the log, and the next one is told."""
    async with open_guardian() as keeper, open_process(SLEEPS) as process:
        found = await until_it_knows(keeper, process.pid)
        assert keeper._channel is not None
        keeper._channel.send(b"?")
        await until(lambda: keeper.process is not found)
        await until_it_knows(keeper, process.pid)
    assert "ValueError: not a message: b'?'" in caplog.text


async def test_the_last_user_ends_it_and_no_other() -> None:
    """Who keeps it leaves, and another goes on with the same; it is even replaced when it dies then."""
    leave = trio.Event()

    async def first_user(task_status: trio.TaskStatus[Guard]) -> None:
        async with open_guardian() as keeper:
            task_status.started(keeper)
            await leave.wait()

    async with trio.open_nursery() as nursery:
        keeper = await nursery.start(first_user)
        async with open_guardian() as same, open_process(SLEEPS) as process:
            assert same is keeper
            found = await until_it_knows(keeper, process.pid)
            leave.set()
            await until(lambda: not nursery.child_tasks)
            assert keeper.process is found
            os.kill(found.pid, signal.SIGKILL)
            await until(lambda: keeper.process is not found)
            await until_it_knows(keeper, process.pid)
        assert keeper.process is None


async def test_leaving_it_harms_no_process_of_others() -> None:
    """The block of the guardian ends before that of a process: killed, it cannot mistake that for an end."""
    async with open_process(SLEEPS) as process:
        async with open_guardian() as keeper:
            await until_it_knows(keeper, process.pid)
        assert process.exit is None
        async with open_guardian() as keeper:
            await until_it_knows(keeper, process.pid)
        assert process.exit is None


async def test_cancelled_at_any_checkpoint_it_leaves_nothing(census) -> None:
    """And what the block was left by goes on bare."""
    await trio.to_thread.run_sync(int)
    before = census()
    for seconds in (0, 0.001, 0.003, 0.01, 0.03):
        with trio.move_on_after(seconds) as scope:
            async with open_guardian(), open_process(SLEEPS):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert census() == before
    with pytest.raises(KeyError):
        async with open_guardian():
            raise KeyError
    assert census() == before


async def test_no_process_holds_its_sockets(launcher: str) -> None:
    """Neither end of the channel, whichever way the process was launched; a copy would hide the parent's end."""
    async with open_guardian() as keeper, open_process(SLEEPS) as first:
        found = await until_it_knows(keeper, first.pid)
        theirs = os.readlink(f"/proc/{found.pid}/fd/3")
        assert keeper._channel is not None
        ours = os.readlink(f"/proc/self/fd/{keeper._channel.fileno()}")
        assert not os.get_inheritable(keeper._channel.fileno())
        async with open_process(SLEEPS) as second:
            for pid in (first.pid, second.pid):
                assert held_by(pid)
                assert not held_by(pid) & {ours, theirs}
        assert theirs not in held_by(os.getpid())


def held_by(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            found.add(os.readlink(path))
    return found


async def test_signals_to_everybody_are_not_for_it() -> None:
    """It leads a group of its own, which Ctrl-C does not reach, and what ends a service by signals leaves it."""
    async with open_guardian() as keeper, open_process(SLEEPS) as process:
        found = await until_it_knows(keeper, process.pid)
        assert os.getpgid(found.pid) == found.pid != os.getpgrp()
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            os.kill(found.pid, sig)
        async with open_process(SLEEPS) as second:
            assert await until_it_knows(keeper, process.pid, second.pid) is found


async def test_one_that_cannot_be_launched_costs_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, with a pause between; meanwhile processes run unguarded."""
    tries = []

    def refuse(plan: object) -> launch.Launched:
        tries.append(trio.lowlevel)
        raise guard.BootFailed("no more processes")

    real = launch.launch
    async with open_guardian() as keeper, open_process(SLEEPS) as process:
        found = await until_it_knows(keeper, process.pid)
        monkeypatch.setattr(launch, "launch", refuse)
        os.kill(found.pid, signal.SIGKILL)
        await until(lambda: len(tries) == 2)
        assert process.exit is None
        monkeypatch.setattr(launch, "launch", real)
        await until_it_knows(keeper, process.pid)
    assert "no guardian: no more processes" in caplog.text


async def test_where_there_can_be_none_it_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen programs have no interpreter to run it: to start ``sys.executable`` would start the program again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    async with open_guardian() as keeper, open_process(SLEEPS):
        await trio.testing.wait_all_tasks_blocked()
        assert keeper.process is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "without an interpreter" in caplog.text

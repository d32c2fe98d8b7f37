"""The ladder: each rung in its order and with its own time, over real processes and over a clock that jumps."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys

import pytest
import trio

from trio_folk._process import ProcessSpec, descend, open_process
from trio_folk.abc import Ladder, Rung, WorkerExit

PATIENT = Ladder(stop=50, terminate=50, kill=50)
DEAF = "trap '' TERM; echo ready; while :; do sleep 100; done"

# not sh: while it forks it cannot be stopped
POLITE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
while True:
    signal.pause()
"""


def nothing() -> None:
    """What asks a process that does not listen."""


def forbidden() -> None:
    raise AssertionError("asked, although the ladder began above")


async def test_end_of_file_ends_a_process_that_listens(sh, notice: str) -> None:
    """On the first rung it is asked, and ends by itself."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with open_process(sh("exec cat <&3", fds={3: theirs.fileno()})) as process:
            theirs.close()
            assert await descend(process, PATIENT, Rung.STOP, ours.close) == WorkerExit(code=0)


async def test_terminate_ends_a_process_that_was_not_asked(notice: str) -> None:
    """Begun on the second rung, nobody is asked."""
    async with open_process(ProcessSpec(argv=("sleep", "100"))) as process:
        assert await descend(process, PATIENT, Rung.TERMINATE, forbidden) == WorkerExit(signal="SIGTERM")


async def test_process_deaf_to_everything_else_is_killed(sh, line, notice: str, alive) -> None:
    """It ignores the end of file and SIGTERM; SIGKILL ends it and its children."""
    async with open_process(sh("sleep 100 & echo $!; " + DEAF)) as process:
        child = int(await line(process))
        assert await line(process) == "ready"
        ladder = Ladder(stop=0.01, terminate=0.05, kill=50)
        assert await descend(process, ladder, Rung.STOP, nothing) == WorkerExit(signal="SIGKILL")
    assert not alive(child)


async def test_stopped_process_acts_on_terminate(line, notice: str) -> None:
    """A SIGSTOPped worker is continued so that its own SIGTERM handler runs."""
    async with open_process(ProcessSpec(argv=(sys.executable, "-I", "-S", "-c", POLITE))) as process:
        await line(process)
        process.signal_group(signal.SIGSTOP)
        await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert await descend(process, PATIENT, Rung.TERMINATE, forbidden) == WorkerExit(code=7)


async def test_ended_process_is_not_asked_again(sh, notice: str) -> None:
    """Its exit is returned at once."""
    async with open_process(sh("exit 3")) as process:
        await process.wait()
        assert await descend(process, PATIENT, Rung.STOP, forbidden) == WorkerExit(code=3)


class Scripted:
    """A body that ends on one rung, after a while, or never; it notes what came when."""

    def __init__(self, ends_on: str = "never", after: float = 0) -> None:
        self.ends_on, self.after = ends_on, after
        self.exit: WorkerExit | None = None
        self.came: list[tuple[float, str]] = []
        self.start = trio.current_time()
        self.called = trio.Event()

    def note(self, what: str) -> None:
        self.came.append((trio.current_time() - self.start, what))
        if what == self.ends_on:
            self.called.set()

    def signal_group(self, sig: int) -> None:
        self.note(signal.Signals(sig).name)

    async def wait(self) -> WorkerExit:
        await self.called.wait()
        await trio.sleep(self.after)
        self.exit = WorkerExit(detail=self.ends_on)
        return self.exit


ALL = [(0, "stop"), (1, "SIGTERM"), (1, "SIGCONT"), (3, "SIGKILL")]


@pytest.mark.parametrize(
    ("ends_on", "start", "expected", "took"),
    [
        ("stop", Rung.STOP, ALL[:1], 0.5),
        ("SIGTERM", Rung.STOP, ALL[:3], 1.5),
        ("SIGKILL", Rung.STOP, ALL, 3.5),
        ("never", Rung.STOP, ALL, 7),
        ("SIGTERM", Rung.TERMINATE, [(0, "SIGTERM"), (0, "SIGCONT")], 0.5),
        ("SIGKILL", Rung.KILL, [(0, "SIGKILL")], 0.5),
        ("never", Rung.KILL, [(0, "SIGKILL")], 4),
    ],
)
async def test_each_rung_has_its_own_time(
    autojump_clock, ends_on: str, start: Rung, expected: list, took: float
) -> None:
    """Each rung comes when the one before has used its time up, and not again once it has ended."""
    body = Scripted(ends_on, after=0.5)
    found = await descend(body, Ladder(stop=1, terminate=2, kill=4), start, lambda: body.note("stop"))
    assert body.came == expected
    assert trio.current_time() - body.start == took
    assert found == (None if ends_on == "never" else WorkerExit(detail=ends_on))


async def test_rung_without_limit_waits_for_ever(autojump_clock) -> None:
    """math.inf means no limit here as everywhere."""
    body = Scripted("stop", after=1e6)
    assert await descend(body, Ladder(stop=math.inf), Rung.STOP, lambda: body.note("stop")) is not None
    assert [what for _, what in body.came] == ["stop"]


async def test_rung_without_time_is_passed(autojump_clock) -> None:
    """A grace of zero takes the rung and does not wait on it."""
    body = Scripted("SIGKILL")
    await descend(body, Ladder(stop=0, terminate=0, kill=1), Rung.STOP, lambda: body.note("stop"))
    assert [what for _, what in body.came] == ["stop", "SIGTERM", "SIGCONT", "SIGKILL"]

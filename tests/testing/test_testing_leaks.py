"""The leak check finds one of each kind, made on purpose, and accuses no clean block.

Whoever makes a leak here ends it in the same test: the check of conftest.py stands around these tests too.
"""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_folk.testing import assert_nothing_left
from trio_folk.testing._stock import _Process

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
# The middle process is gone at once; what it started stays in its group and belongs to init.
ORPHANER = "import os,sys; os.setpgid(0,0); p = os.posix_spawn(sys.argv[1], sys.argv[1:], {}); print(p)"


def open_descriptor(cleanup: ExitStack) -> str:
    number = os.open("/dev/null", os.O_RDONLY)
    cleanup.callback(os.close, number)
    return f"descriptor {number} -> /dev/null"


def open_child(cleanup: ExitStack) -> str:
    child = cleanup.enter_context(subprocess.Popen(SLEEPER))
    cleanup.callback(child.kill)
    return f"process {child.pid} ("


def make_zombie(cleanup: ExitStack) -> str:
    child = cleanup.enter_context(subprocess.Popen(SLEEPER))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return f"zombie {child.pid} ("


def open_orphan(cleanup: ExitStack) -> str:
    command = [sys.executable, "-I", "-S", "-c", ORPHANER, *SLEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())  # to the end of file would be as long as the orphan sleeps
    cleanup.callback(os.kill, orphan, signal.SIGKILL)
    return f"process {orphan} ("


def open_thread(cleanup: ExitStack) -> str:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, args=(60,), name="left over")
    thread.start()
    cleanup.callback(thread.join)
    cleanup.callback(stop.set)
    return f"thread 'left over' ({thread.native_id})"


def open_native_thread(cleanup: ExitStack) -> str:
    """As libraries in C start them: `threading` does not know it."""
    stop = threading.Event()
    number = _thread.start_new_thread(stop.wait, (60,))
    cleanup.callback(stop.set)
    assert number not in {thread.ident for thread in threading.enumerate()}
    return "native thread "


def make_file(cleanup: ExitStack) -> str:
    number, path = tempfile.mkstemp(prefix="trio_folk")
    os.close(number)
    cleanup.callback(os.unlink, path)
    return f"temporary file {path}"


each_kind = pytest.mark.parametrize(
    "leak",
    [open_descriptor, open_child, make_zombie, open_orphan, open_thread, open_native_thread, make_file],
)


@contextmanager
def cleaning() -> Iterator[ExitStack]:
    """Undo the leaks, and wait until the processes among them are really gone."""
    with assert_nothing_left(timeout=30), ExitStack() as cleanup:
        yield cleanup


@each_kind
def test_leak_is_named(leak: Callable[[ExitStack], str]) -> None:
    """Each kind of thing that outlives the block is an AssertionError that names it."""
    with cleaning() as cleanup:
        with pytest.raises(AssertionError) as caught, assert_nothing_left(timeout=0.05):
            name = leak(cleanup)
        assert name in str(caught.value)


@each_kind
async def test_leak_is_named_inside_trio(leak: Callable[[ExitStack], str]) -> None:
    """The asynchronous form finds the same."""
    with cleaning() as cleanup:
        with pytest.raises(AssertionError) as caught:
            async with assert_nothing_left(timeout=0.05):
                name = leak(cleanup)
        assert name in str(caught.value)


@each_kind
def test_what_was_there_before_is_not_a_leak(leak: Callable[[ExitStack], str]) -> None:
    """Only what is new is reported, and what has gone since is not."""
    with cleaning() as cleanup:
        leak(cleanup)
        with assert_nothing_left(timeout=0):
            pass


# pid 1 of a new pid namespace stays in the session it came from, which has the number 0 there, as has its child's.
IN_A_CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "init"]
FINDS_AN_ORPHAN = """
import os, subprocess, sys
from trio_folk.testing import assert_nothing_left
assert os.getsid(1) == os.getsid(0), "init is in another session"
try:
    with assert_nothing_left(timeout=0.05):
        subprocess.run(sys.argv[1:], check=True)
except AssertionError as error:
    print(error)
"""


def test_orphan_is_found_where_init_shares_our_session() -> None:
    """In a container, as under a machine's agent, init may have our own session."""
    if subprocess.run([*IN_A_CONTAINER, "true"], capture_output=True).returncode != 0:
        pytest.skip("no new pid namespace is allowed here")
    orphaner = [sys.executable, "-I", "-S", "-c", ORPHANER, *SLEEPER]
    command = [*IN_A_CONTAINER, sys.executable, "-c", FINDS_AN_ORPHAN, *orphaner]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "import time; time.sleep(60)) state" in done.stdout, done.stderr


def relative(pid: int, parent: int, session: int) -> _Process:
    return _Process(pid, "", "S", parent, session, 0)


@pytest.mark.parametrize(
    ("adopter", "ours"),
    [
        (relative(1, 0, 0), True),
        (relative(1, 0, 7), True),
        (relative(5, 1, 5), True),
        (relative(5, 1, 7), False),
    ],
    ids=["init", "init of our session", "subreaper of another session", "shell of our session"],
)
def test_adopter_tells_an_orphan_from_a_neighbour(adopter: _Process, ours: bool) -> None:
    """A process of our session is our orphan by who has taken it in."""
    me, stray = relative(os.getpid(), 7, 7), relative(9, adopter.pid, 7)
    everyone = {process.pid: process for process in (relative(7, 1, 7), me, adopter, stray)}
    assert stray.is_ours(everyone) is ours


def test_command_line_and_state_of_a_process_are_told() -> None:
    """A leaked process is told by what it runs, not by its number alone."""
    with cleaning() as cleanup:
        with pytest.raises(AssertionError, match=r"import time; time.sleep\(60\)\) state \w"):
            with assert_nothing_left(timeout=0.05):
                open_child(cleanup)


async def test_task_is_named_with_the_place_where_it_waits() -> None:
    """A task that outlives the block is told by its name and by its innermost line that is not trio's."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match=r"task 'sitter' waiting at .*test_testing_leaks.py:\d+ in"):
            async with assert_nothing_left(timeout=0.05):
                nursery.start_soon(trio.sleep_forever, name="sitter")
                nursery.start_soon(sit, name="sitter")
        nursery.cancel_scope.cancel()


async def sit() -> None:
    await trio.sleep_forever()


async def test_system_task_is_a_task_too() -> None:
    """Tasks beside the caller's own nurseries are seen."""
    release = trio.Event()
    with pytest.raises(AssertionError, match=r"Event\.wait"):
        async with assert_nothing_left(timeout=0.05):
            trio.lowlevel.spawn_system_task(release.wait)
    release.set()
    await trio.testing.wait_all_tasks_blocked()


async def test_plain_form_inside_trio_reports_tasks_without_waiting() -> None:
    """Blocking the loop until a task ends would never end; the plain form does not try."""
    async with trio.open_nursery() as nursery:
        began = time.monotonic()
        with pytest.raises(AssertionError, match="task 'sitter'"), assert_nothing_left(timeout=60):
            nursery.start_soon(trio.sleep_forever, name="sitter")
        assert time.monotonic() - began < 30
        nursery.cancel_scope.cancel()


async def test_task_that_is_just_ending_is_waited_for() -> None:
    """A task that ends by itself within the bound is no leak."""
    async with trio.open_nursery() as nursery:
        async with assert_nothing_left(timeout=30):
            nursery.start_soon(trio.sleep, 0.05)


def test_process_that_is_just_ending_is_waited_for() -> None:
    """A child that another thread reaps a moment later is no leak, and neither is that thread."""
    with assert_nothing_left(timeout=30):
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
        threading.Thread(target=child.wait).start()


async def test_mocked_time_does_not_move(autojump_clock: trio.testing.MockClock) -> None:
    """Under an autojump clock the check waits in real time, and a sleeping task stays a leak."""
    async with trio.open_nursery() as nursery:
        now = trio.current_time()
        with pytest.raises(AssertionError, match="task 'sleeper'"):
            async with assert_nothing_left(timeout=0.1):
                nursery.start_soon(trio.sleep, 5, name="sleeper")
        assert trio.current_time() == now


async def test_work_in_real_time_is_waited_for_under_a_mocked_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A thread that needs real time may finish, though trio's clock stands still."""
    async with trio.open_nursery() as nursery:
        async with assert_nothing_left(timeout=30):
            nursery.start_soon(trio.to_thread.run_sync, time.sleep, 0.05)
            await trio.lowlevel.checkpoint()


async def test_idle_thread_of_trio_is_no_leak() -> None:
    """Trio keeps a thread for ten seconds after its job, longer than this waits; it is nobody's leak."""
    async with assert_nothing_left(timeout=3):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, time.sleep, 0.01)


async def test_busy_thread_of_trio_is_a_leak() -> None:
    """A thread whose caller has abandoned it still runs, even when it was an idle one before."""
    stop = threading.Event()
    await trio.to_thread.run_sync(bool)  # now one is idle
    with pytest.raises(AssertionError, match=r"thread .wait from"):
        async with assert_nothing_left(timeout=0.05):
            with trio.move_on_after(0.05):
                await trio.to_thread.run_sync(stop.wait, 60, abandon_on_cancel=True)
    stop.set()


def test_exception_of_the_block_is_not_masked() -> None:
    """An exception on its way goes on as it is; what was left is a note on it."""
    with cleaning() as cleanup:
        with pytest.raises(KeyError) as caught, assert_nothing_left(timeout=0.05):
            name = open_descriptor(cleanup)
            raise KeyError("mine")
        assert name in "".join(caught.value.__notes__)


async def test_exception_of_the_block_is_not_masked_inside_trio() -> None:
    """The same of the asynchronous form."""
    with cleaning() as cleanup:
        with pytest.raises(KeyError) as caught:
            async with assert_nothing_left(timeout=0.05):
                name = open_descriptor(cleanup)
                raise KeyError("mine")
        assert name in "".join(caught.value.__notes__)


async def test_cancelled_block_is_checked_and_stays_cancelled() -> None:
    """A cancellation passes through the check, which is shielded: it takes the leaks along as a note."""
    with cleaning() as cleanup:
        with trio.CancelScope() as scope:
            try:
                async with assert_nothing_left(timeout=0.05):
                    name = open_descriptor(cleanup)
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                notes = "".join(cancelled.__notes__)
                raise
        assert scope.cancelled_caught
        assert name in notes


def test_clean_block_passes_at_once(tmp_path: Path) -> None:
    """What the block itself has closed, reaped and joined is not reported; nothing is waited for."""
    with assert_nothing_left(timeout=0):
        (tmp_path / "file").write_text("closed again")
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
        trio.run(trio.sleep, 0)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_senseless_timeout_is_refused(timeout: float) -> None:
    """A bound that is no bound is refused before the block begins."""
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        assert_nothing_left(timeout=timeout)


def test_check_that_was_never_entered_says_so() -> None:
    """Leaving without entering is a mistake of the caller, told as one."""
    with pytest.raises(RuntimeError, match="not entered"):
        assert_nothing_left().__exit__(None, None, None)

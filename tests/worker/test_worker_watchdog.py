"""The watchdog: a worker whose parent is gone ends at once, with its group, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio
from worker_child import BOUND, Child

from trio_folk._wire import encode_notify

CEILING = 10.0  # seconds; it takes milliseconds, and the promise is one second


def gone(pipe: int) -> bool:
    """Whether everybody who holds the other end ended in time: the pipe's end of file."""

    async def wait() -> bool:
        with trio.move_on_after(CEILING):
            await trio.lowlevel.wait_readable(pipe)
            return os.read(pipe, 100) == b""
        return False

    return trio.run(wait)


@pytest.mark.parametrize("target", ["worker_jobs:worker", "worker_async_jobs:worker"])
def test_idle_worker_ends_with_its_parent(target: str) -> None:
    """Only the control channel tells it: the task channel stays open."""
    with Child(target) as child:
        child.ready()
        child.control.sock.close()
        assert child.process.wait(CEILING) == -signal.SIGKILL


def test_worker_in_a_pure_python_loop_ends_with_its_group() -> None:
    """The worker spins, its own child sleeps; both are gone when the parent is."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        with Child("worker_jobs:worker", keep=[write]) as child:
            os.close(write)
            child.ready().request("spin", [write])
            assert os.read(read, 100) == b"spinning"
            child.control.sock.close()
            assert gone(read)
            assert child.process.wait(CEILING) == -signal.SIGKILL
    finally:
        os.close(read)


def test_worker_that_imports_for_ever_ends_with_its_parent(tmp_path: Path) -> None:
    """The watchdog is there before the target is."""
    read, write = os.pipe()
    (tmp_path / "endless.py").write_text(f"import os\nos.write({write}, b'in')\nwhile True: pass\n")
    try:
        with Child("endless:worker", path=[tmp_path], keep=[write]) as child:
            os.close(write)
            assert os.read(read, 100) == b"in"
            child.control.sock.close()
            assert gone(read)
    finally:
        os.close(read)


def test_worker_in_anothers_group_takes_only_itself_along() -> None:
    """One that was started by hand, in the group of its shell, kills no shell."""
    script = """
        import os, socket, subprocess, sys
        task, child_task = socket.socketpair()
        control, child_control = socket.socketpair()
        fds = [child_task.fileno(), child_control.fileno()]
        env = dict(os.environ, FOLK_TASK_FD=str(fds[0]), FOLK_CONTROL_FD=str(fds[1]))
        worker = subprocess.Popen([sys.executable, "-m", "trio_folk.worker"], env=env, pass_fds=fds)
        child_task.close(), child_control.close()
        assert b"control.ready" in control.recv(1000)
        control.close()
        print(worker.wait())
        """
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        process_group=0,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{-signal.SIGKILL}\n", "")


def test_what_is_not_known_on_the_control_channel_is_ignored() -> None:
    """A newer parent may say more than this worker understands."""
    with Child("worker_jobs:worker") as child:
        child.ready()
        for params in (None, {"msgid": "1"}, {"msgid": -1}, [1], {}):
            child.control.send(encode_notify("folk.cancel", params))
            child.control.send(encode_notify("folk.news", params))
        assert child.call("add", [1, 2]) == 3


def test_nonsense_on_the_control_channel_ends_the_worker() -> None:
    """Whoever writes that is no parent of ours, and the real one could not be heard any more."""
    with Child("worker_jobs:worker") as child:
        child.ready()
        child.control.send(b"\0\0\0\1\xc0" * 20)
        assert child.process.wait(30) == -9

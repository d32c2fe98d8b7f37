"""A pid always has one owner: however the block is left, nothing of the process is left."""

from __future__ import annotations

import logging
import os
import signal

import pytest
import trio

from trio_folk._process import ProcessSpec, exits, group, open_process, orphans
from trio_folk._process import process as process_module

SLEEPS = ProcessSpec(argv=("sleep", "100"))
FAMILY = "sleep 100 & echo $!; wait"


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when its task has given way for the n-th time."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self.task, self.scope, self.step = task, scope, step

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.step -= 1
            if self.step == 0:
                self.scope.cancel()


async def test_cancellation_at_any_checkpoint_leaves_nothing(notice: str, census) -> None:
    """Cancelled before the first checkpoint, at it, and so on to the last: no child and no descriptor."""
    begun = []
    await trio.to_thread.run_sync(int)
    before = census()
    assert before[0] is False
    for step in range(100):
        with trio.CancelScope() as scope:
            if step == 0:
                scope.cancel()
            instrument = CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with open_process(SLEEPS):
                    begun.append(step)
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert census() == before, step
        if not scope.cancel_called:
            break
    assert scope.cancel_called is False, "the last round had no such checkpoint any more"
    assert begun[0] > 2, "cancelled before, or within the launch: the body does not begin"
    assert begun == list(range(begun[0], step + 1))


async def test_error_in_the_block_leaves_nothing_and_goes_on(notice: str, alive) -> None:
    """The block's own exception leaves bare."""
    with pytest.raises(KeyError, match="mine"):
        async with open_process(SLEEPS) as process:
            raise KeyError("mine")
    assert not alive(process.pid)
    assert process.exit is not None
    assert process.exit.signal == "SIGKILL"


@pytest.mark.parametrize(
    "script", [FAMILY, "sleep 100 & echo $!", "trap '' TERM HUP; sleep 100 & echo $!; wait"]
)
async def test_grandchildren_of_the_group_are_killed(sh, line, alive, notice: str, script: str) -> None:
    """A grandchild is gone when the block is left, whether its parent lives, has ended, or ignores signals."""
    async with open_process(sh(script)) as process:
        grandchild = int(await line(process))
        assert alive(grandchild)
        if script.endswith("$!"):
            await process.wait()
    assert not alive(grandchild)


async def test_group_is_signalled_by_number_where_the_kernel_has_no_flag(
    sh, line, alive, monkeypatch
) -> None:
    """Before Linux 6.9 pidfd_send_signal refuses the flag, and killpg takes its place."""
    send = signal.pidfd_send_signal

    def old(pidfd: int, sig: int, siginfo: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(22, "EINVAL")
        send(pidfd, sig, siginfo, flags)

    monkeypatch.setattr(signal, "pidfd_send_signal", old)
    async with open_process(sh(FAMILY)) as process:
        grandchild = int(await line(process))
        process.signal_group(signal.SIGTERM)
        assert (await process.wait()).signal == "SIGTERM"
    assert not alive(grandchild)


async def test_signal_reaches_the_process_alone(sh, line, alive, notice: str) -> None:
    """`signal` is for the worker; `signal_group` is for its children too."""
    async with open_process(sh(FAMILY)) as process:
        grandchild = int(await line(process))
        process.signal(signal.SIGTERM)
        assert (await process.wait()).signal == "SIGTERM"
        assert alive(grandchild)
        process.signal_group(signal.SIGKILL)
    assert not alive(grandchild)


async def test_nobody_is_signalled_after_the_reaping(notice: str, monkeypatch) -> None:
    """Once it is reaped its number may be a stranger's: signals are no longer sent."""
    async with open_process(SLEEPS) as process:
        pass
    for module, name in [(os, "kill"), (os, "killpg"), (signal, "pidfd_send_signal")]:
        monkeypatch.setattr(module, name, lambda *args: pytest.fail(f"signalled {args}"))
    process.signal(signal.SIGKILL)
    process.signal_group(signal.SIGKILL)
    assert (process.stdout_fd, process.stderr_fd) == (-1, -1)


async def test_group_of_a_process_that_others_reaped_is_still_killed(sh, line, alive) -> None:
    """With SIGCHLD ignored the kernel reaps by itself; the pidfd still reaches the group (Linux 6.9)."""
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    reader, writer = os.pipe()
    try:
        async with open_process(sh("sleep 100 & echo $!; read rest <&3", fds={3: reader})) as process:
            grandchild = int(await line(process))
            os.close(writer)  # not before there is a pidfd: what ends sooner is reaped sooner
            assert await process.wait() is exits.STOLEN
            try:
                signal.pidfd_send_signal(process._pidfd, 0, None, group._PIDFD_SIGNAL_PROCESS_GROUP)
            except OSError:
                os.kill(grandchild, signal.SIGKILL)
                pytest.skip("needs PIDFD_SIGNAL_PROCESS_GROUP: Linux 6.9")
        assert not alive(grandchild)
    finally:
        os.close(reader)
        signal.signal(signal.SIGCHLD, previous)


async def test_process_that_does_not_die_is_reaped_at_a_later_launch(
    notice: str, monkeypatch, caplog
) -> None:
    """What outlives SIGKILL is logged by pid, the block is left all the same, and a later launch reaps it."""
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "trio_folk.process"):
        patch.setattr(process_module, "KILL_WAIT", 0.01)
        patch.setattr(
            exits, "look", lambda pid, pidfd: None
        )  # as it looks from outside while it is in D state
        async with open_process(SLEEPS) as process:
            pass
    assert process.pid in orphans.waiting()
    assert str(process.pid) in caplog.text
    assert "not ended" in str(await process.wait())
    with trio.fail_after(50):
        while orphans.waiting():
            async with open_process(ProcessSpec(argv=("true",))):
                pass


def test_living_orphan_is_kept() -> None:
    """One that still runs is not forgotten; one that somebody else reaped is."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "100"], {})
    orphans.adopt(pid)
    orphans.reap_ended()
    assert pid in orphans.waiting()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED)
    orphans.reap_ended()
    assert pid not in orphans.waiting()


async def test_processes_side_by_side_do_not_hold_each_others_pipes(sh, read) -> None:
    """The end of one's output comes although another, launched meanwhile, still runs."""
    async with (
        open_process(SLEEPS),
        open_process(sh("echo out; echo err >&2")) as process,
        open_process(SLEEPS),
    ):
        assert not os.get_blocking(process.stdout_fd)
        assert not os.get_blocking(process.stderr_fd)
        assert await read(process.stdout_fd) == b"out\n"
        assert await read(process.stderr_fd) == b"err\n"
        await process.wait()


async def test_zombies_do_not_hold_up_the_end(sh, line, monkeypatch) -> None:
    """Dead members that their own parent does not reap are not waited for."""
    waits = []
    monkeypatch.setattr(group, "_has_members", lambda number: waits.append(number) or True)
    monkeypatch.setattr(process_module, "GROUP_WAIT", 50)
    with trio.fail_after(10):
        async with open_process(sh(FAMILY)) as process:
            await line(process)
    assert waits

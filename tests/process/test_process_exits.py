"""Exits are noticed by everybody who waits, and told apart; the same by pidfd and by thread."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from trio_folk._process import exits, open_process
from trio_folk.abc import WorkerExit


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", WorkerExit(code=0)),
        ("exit 9", WorkerExit(code=9)),
        ("kill -KILL $$", WorkerExit(signal="SIGKILL")),
        ("kill -TERM $$", WorkerExit(signal="SIGTERM")),
        ("kill -40 $$", WorkerExit(signal="signal 40")),
    ],
)
async def test_exit_status_and_signal_are_told_apart(
    sh, notice: str, script: str, expected: WorkerExit
) -> None:
    """Exit 9 and SIGKILL differ; a real-time signal without a name has its number."""
    async with open_process(sh(script)) as process:
        assert await process.wait() == expected
        assert process.exit == expected
    assert process.exit == expected


async def test_core_dump_is_a_signal(sh, notice: str) -> None:
    """A dumped core is told as its signal, whether or not the system keeps cores."""
    async with open_process(sh("ulimit -c 0; kill -SEGV $$")) as process:
        assert (await process.wait()).signal == "SIGSEGV"


async def test_any_number_of_tasks_may_wait(sh, notice: str) -> None:
    """All who wait get the same answer, and who asks later gets it too."""
    found = []

    async def wait(process) -> None:
        found.append(await process.wait())

    async with open_process(sh("exec sleep 100")) as process:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(wait, process)
            await trio.testing.wait_all_tasks_blocked()
            assert repr(process) == f"<Process {process.pid} running>"
            process.signal(signal.SIGKILL)
        found.append(await process.wait())
    assert found == [WorkerExit(signal="SIGKILL")] * 6
    assert repr(process) == f"<Process {process.pid} killed by SIGKILL>"


async def test_cancelled_waiter_leaves_the_others_waiting(sh, notice: str) -> None:
    """The one that watches for all may be cancelled: another takes over."""
    found = []

    async def wait(process, scope) -> None:
        with scope:
            found.append(await process.wait())

    scopes = [trio.CancelScope() for _ in range(3)]
    async with open_process(sh("exec sleep 100")) as process:
        async with trio.open_nursery() as nursery:
            for scope in scopes:
                nursery.start_soon(wait, process, scope)
                await trio.testing.wait_all_tasks_blocked()
            scopes[0].cancel()
            scopes[1].cancel()
            await trio.testing.wait_all_tasks_blocked()
            process.signal(signal.SIGTERM)
    assert found == [WorkerExit(signal="SIGTERM")]
    assert [scope.cancelled_caught for scope in scopes] == [True, True, False]


async def test_waiting_does_not_reap(sh, notice: str) -> None:
    """Until its block is left a dead process keeps its pid, so that nobody else gets the number."""
    async with open_process(sh("exit 5")) as process:
        await process.wait()
        os.kill(process.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_process_reaped_by_other_code_has_ended(sh, notice: str, monkeypatch) -> None:
    """Where something else waits for our child, waiting still ends, and no signal is sent any more."""
    async with open_process(sh("exit 5")) as process:
        await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WEXITED)
        assert await process.wait() is exits.STOLEN
        for name in ("kill", "killpg"):
            monkeypatch.setattr(os, name, lambda pid, sig: sig and pytest.fail(f"{sig} was sent to {pid}"))
        process.signal(signal.SIGKILL)
        process.signal_group(signal.SIGKILL)


async def test_wait_is_a_checkpoint_also_when_it_has_ended(sh, notice: str) -> None:
    """A loop around `wait` cannot starve anybody."""
    async with open_process(sh("exit 5")) as process:
        await process.wait()
        with trio.testing.assert_checkpoints():
            await process.wait()


def test_thread_that_outlives_the_run_stays_quiet() -> None:
    """The fallback's thread reports to a run that is over, and nobody is bothered."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "100"], {})
    watch = exits.ThreadWatch(pid)

    async def abandon() -> None:
        with trio.move_on_after(0.01):
            await watch.wait()

    trio.run(abandon)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED)


@pytest.mark.parametrize("error", [OSError(24, "EMFILE"), OSError(38, "ENOSYS"), OSError(1, "EPERM")])
async def test_failing_pidfd_open_falls_back_to_a_thread(sh, monkeypatch, error: OSError) -> None:
    """A kernel, a filter or a limit that refuses pidfds does not cost the process that already runs."""

    def fail(pid: int) -> int:
        raise error

    monkeypatch.setattr(os, "pidfd_open", fail)
    async with open_process(sh("exit 6")) as process:
        assert (await process.wait()).code == 6


async def test_system_without_pidfds_falls_back_to_a_thread(sh, monkeypatch) -> None:
    """macOS has no os.pidfd_open at all."""
    monkeypatch.delattr(os, "pidfd_open")
    async with open_process(sh("exit 6")) as process:
        assert (await process.wait()).code == 6

"""The process group that a worker leads: signalled as one, and seen to be gone.

A worker's children are in its group and outlive it, unless they are signalled with it. The group's number is
the leader's pid; once the leader is reaped and the group empty, the number may be a stranger's.

Knows group numbers. Does not know who leads, nor how long to wait.
"""

from __future__ import annotations

import os
import signal

import trio

__all__ = ["send_group", "wait_gone"]

_PIDFD_SIGNAL_PROCESS_GROUP = 4  # pidfd_send_signal(2): Linux 6.9 and later, EINVAL before
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.05  # seconds between two looks


def send_group(number: int, pidfd: int | None, sig: int, *, leader_is_ours: bool) -> None:
    """Signal every process of a group; nothing happens where there is none left.

    Args:
        number: the leader's pid.
        pidfd: the leader's, which no recycling can point at anybody else.
        sig: the signal.
        leader_is_ours: the leader is not reaped, so the number is still its own and may be used.
    """
    try:
        if pidfd is not None and _by_pidfd(pidfd, sig):
            return
        if leader_is_ours:
            os.killpg(number, sig)
    except (ProcessLookupError, PermissionError):
        pass  # none left; or none that we may signal, which macOS also says of zombies


def _by_pidfd(pidfd: int, sig: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, sig, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        raise
    except OSError:
        return False  # EINVAL before Linux 6.9, ENOSYS or EPERM under seccomp
    return True


async def wait_gone(number: int) -> None:
    """Return once no member of the group lives. The leader must be reaped. Always a checkpoint.

    Zombies do not count where /proc tells them: in a container whose first process reaps nobody they stay.
    Cancellation leaves nothing behind; the caller bounds the wait.
    """
    await trio.lowlevel.checkpoint()
    pause = _FIRST_PAUSE
    while _has_members(number):
        await trio.sleep(pause)
        pause = min(2 * pause, _LAST_PAUSE)
        if not _has_members(number) or not await trio.to_thread.run_sync(_has_live_members, number):
            return


def _has_members(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _has_live_members(number: int) -> bool:
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True  # no /proc: nobody can tell
    return any(_lives_in(pid, number) for pid in pids) if pids else True


def _lives_in(pid: str, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return False  # gone since it was listed
    # proc(5): pid (comm) state ppid pgrp ...; the name may itself hold parentheses and blanks
    state, _, group = text.rpartition(b")")[2].split()[:3]
    return int(group) == number and state not in (b"Z", b"X")

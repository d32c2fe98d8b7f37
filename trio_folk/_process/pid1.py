"""A worker's pid namespace, as a program: it makes one, runs the worker in it, and ends as the worker did.

What a worker starts can leave its group, and nobody finds it again. Out of a pid namespace there is no way: when its
first process ends, the kernel kills all the others. The first process must be one of ours. As that a worker would not
feel SIGTERM, nor its own signals, and would have to reap what others leave behind. So there are three, of one group:

    outer   the one that was launched: makes the namespace, waits, ends as the worker did
    first   pid 1 in it: reaps; ends when the worker has, or when the outer process is gone
    worker  pid 2: the program itself, which has the descriptors and feels the signals that are sent to the group

Invariants
    1. When the outer process has ended by itself, everything in the namespace is gone; when it was killed, that begins.
    2. Neither of ours holds a channel or the standard output: their end of file is the worker's doing.
    3. What ends others does not end ours, but SIGKILL does: the worker gets the time between SIGTERM and that.
    4. The worker finds arguments, environment, descriptors and signals as if it had been launched by itself.

What does not work
    Asking the first process who its parent is, after PR_SET_PDEATHSIG came too late: of a parent outside, the kernel
    says 0. So it writes to a pipe that only the outer process reads.

Run by path with ``-I -S``; it imports nothing of ours. Without arguments it only tries. Knows one program. Does not
know what it says. Picture: docs/design/guardian.md
"""

import _signal  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
import ctypes
import os
import sys

NOT_HERE, NOT_EXECUTED = 125, 127  # exit statuses, as those of env(1) and shells

_NEWUSER, _NEWPID = 0x10000000, 0x20000000  # <linux/sched.h>
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_STDERR = 2
_IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)  # execve(2) keeps what is ignored
_KEEP_THEIR_MEANING = ("SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU")
_THERE = b"."


def main(argv: list[str]) -> None:
    """Be the outer process: run ``argv[1:]``, whose file is ``argv[0]``, and end as it did."""
    environment = _environment()
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        _enter()
    except OSError as error:
        os.write(_STDERR, f"{error.filename or 'unshare'}: {error.strerror}\n".encode())
        os._exit(NOT_HERE)
    reader, writer = os.pipe()
    waiting, go = os.pipe()  # the worker does not run before this process is deaf
    mask = _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
    first = os.fork()
    if not first:
        os.close(reader)
        os.close(go)
        _be_first(writer, waiting, argv, environment, mask)
    os.close(writer)
    os.read(reader, len(_THERE))
    for number in _signal.sigpending() - {_signal.SIGCHLD}:
        os.killpg(0, number)  # it came before there was a worker
    _turn_deaf()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    _close_all_but(reader, _STDERR)  # go, too
    told = b""
    while data := os.read(reader, 64):
        told += data
    _, status = os.waitpid(first, 0)  # it ends last (invariant 1)
    _end_as(int(told or status))


def _environment() -> dict[bytes, bytes]:
    """As it was given: Python itself sets LC_CTYPE where no locale is set (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
    return {name: value for name, _, value in pairs}


def _enter() -> None:
    """Have the next child be the first process of a new pid namespace."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(_NEWPID)  # who may, keeps all rights
    except PermissionError:
        _unshare(_NEWUSER | _NEWPID)
        maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
        for name, text in maps.items():  # user_namespaces(7)
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _unshare(flags: int) -> None:
    if sys.version_info >= (3, 12):
        os.unshare(flags)
    else:
        _libc("unshare", flags)


def _libc(name: str, *args: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _be_first(
    writer: int, waiting: int, argv: list[str], environment: dict[bytes, bytes], mask: set[int]
) -> None:
    """Be pid 1, which no signal from inside ends, nor any from outside but SIGKILL and SIGSTOP. Never returns."""
    worker = os.fork() if argv else None
    if worker == 0:
        os.read(waiting, 1)
        _execute(argv, environment, mask)
    _close_all_but(writer, _STDERR)
    _libc("prctl", _PR_SET_PDEATHSIG, _signal.SIGKILL)
    try:
        os.write(writer, _THERE)
    except BrokenPipeError:
        os._exit(0)  # the outer process was gone before that
    if worker is None:
        os._exit(0)
    while True:
        pid, status = os.wait()  # whatever loses its parent in here is ours to reap
        if pid == worker:
            os.write(writer, b"%d" % status)
            os._exit(0)


def _execute(argv: list[str], environment: dict[bytes, bytes], mask: set[int]) -> None:
    for number in _IGNORED_BY_PYTHON:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    try:
        os.execve(argv[0], argv[1:], environment)
    except OSError as error:
        os.write(_STDERR, f"cannot execute {argv[0]!r}: {error.strerror}\n".encode())
        os._exit(NOT_EXECUTED)


def _turn_deaf() -> None:
    """After the fork only: the worker would inherit it."""
    hears = {_signal.SIGKILL, _signal.SIGSTOP, *(getattr(_signal, name) for name in _KEEP_THEIR_MEANING)}
    for number in _signal.valid_signals() - hears:
        _signal.signal(number, _signal.SIG_IGN)


def _close_all_but(*kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:  # noqa: SIM105  contextlib is a millisecond of its start
                os.close(int(name))
            except OSError:
                pass  # the one that listed


def _end_as(status: int) -> None:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    import resource

    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has written its own
    if number != _signal.SIGKILL:
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # as shells say it, should this one not end anybody


if __name__ == "__main__":
    sys.tracebacklimit = 3
    main(sys.argv[1:])

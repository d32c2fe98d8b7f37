"""What this machine supports, one question a function: the answer, what it means, and what to do.

A library that runs slower, or not at all, for a reason of the machine's looks like a broken library.

Knows the system. Does not know how answers are shown.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import attrs
import trio

from .._errors import FolkError
from .._pool import PoolConfig, open_pool
from .._pool.config import usable_cpus
from .._process import guard, libc, namespace
from ..runtimes import PipeRuntime

__all__ = ["Check", "all_checks"]

_PATIENCE = 10.0  # seconds for a program that is asked for its version, and for the first worker
_FDS_A_SLOT = 5  # two channels, standard output and error, the pidfd
_FDS_OF_OURS = 32  # what trio, the application and a launch need besides
_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP
_EXTRAS = {
    "rich": ("cli", "`trio-folk map` shows a bar, else a plain counter"),
    "cloudpickle": ("closures", "lambdas, closures and functions of __main__ can be sent to workers"),
    "hypercorn": ("http", "`trio-folk serve` serves web applications"),
    "watchfiles": ("watch", "`pool.watch` and `trio-folk map --watch` follow what is saved"),
    "ray": ("ray", "`RayRuntime`: workers on the machines of a cluster"),
}

_PARENT = """
import trio
from trio_folk._process import ProcessSpec, open_guardian, open_process
async def main():
    async with open_guardian() as guard, open_process(ProcessSpec(argv=("sleep", "60"))) as orphan:
        await guard.launched.wait()
        print(orphan.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@attrs.frozen
class Check:
    """One answer.

    Attributes:
        name: what was asked.
        ok: whether it is there.
        found: what was found.
        meaning: what it is good for, or what happens without it.
        remedy: what to do where it is missing.
        required: whether nothing works without it.
    """

    name: str
    ok: bool
    found: str
    meaning: str
    remedy: str = ""
    required: bool = False


def all_checks() -> Iterator[Check]:
    """Every check, in the order in which they are shown."""
    yield _system()
    yield _python()
    yield _pidfd()
    yield _group_signals()
    yield _guardian()
    yield _namespaces()
    yield _spawn()
    yield _descriptors()
    yield _cpus()
    yield from _pythons()
    yield from _extras()
    yield _php()
    yield _node()
    yield _worker()


def _system() -> Check:
    return Check(
        "system",
        os.name == "posix",
        f"{platform.system()} {platform.release()}",
        "made for Linux; other POSIX systems work by slower ways",
        "use Linux, or WSL on Windows",
        required=True,
    )


def _python() -> Check:
    return Check(
        "python",
        sys.version_info >= (3, 11),
        f"{platform.python_version()} ({sys.executable})",
        "this interpreter, and that of Python workers",
        "use Python 3.11 or later",
        required=True,
    )


def _pidfd() -> Check:
    found, ok = "pidfd_open", hasattr(os, "pidfd_open")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        ok, found = False, str(error)
    return Check(
        "pidfd",
        ok,
        found,
        "a worker's end is noticed by a descriptor, else by a thread each",
        "Linux 5.3 or later; in a container, a seccomp profile that allows pidfd_open",
    )


def _group_signals() -> Check:
    ok, found = True, "PIDFD_SIGNAL_PROCESS_GROUP"
    try:
        fd = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(fd, 0, None, _GROUP)
        finally:
            os.close(fd)
    except ProcessLookupError:
        pass  # this process leads no group: the flag was understood
    except (AttributeError, OSError) as error:
        number = getattr(error, "errno", None)
        ok, found = False, errno.errorcode.get(number, str(error)) if number else str(error)
    return Check(
        "group signals",
        ok,
        found,
        "a worker's children are ended with it, else by killpg while the worker is not reaped",
        "Linux 6.9 or later",
    )


def _guardian() -> Check:
    reason = guard.why_unguarded()
    seconds = None if reason else _orphan_ended_after()
    found = reason or (
        "an orphan was not ended" if seconds is None else f"an orphan ended in {seconds * 1e3:.0f} ms"
    )
    return Check(
        "guardian",
        seconds is not None,
        found,
        "should this program be killed, its workers in any language and their groups are ended, else Python's only",
        "Linux 5.3 or later, and trio_folk installed as files",
    )


def _orphan_ended_after() -> float | None:
    """Seconds from the SIGKILL of a program until its child, which heeds nothing, is gone; None if it is not."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        try:
            assert parent.stdout is not None
            readable, _, _ = select.select([parent.stdout], [], [], _PATIENCE)
            line = parent.stdout.readline() if readable else b""
            if not line:
                return None
            orphan = os.pidfd_open(int(line))
        except OSError:
            return None
        finally:
            parent.kill()
    try:
        began = time.perf_counter()
        ended, _, _ = select.select([orphan], [], [], _PATIENCE)
        if ended:
            return time.perf_counter() - began
        signal.pidfd_send_signal(orphan, signal.SIGKILL)
        return None
    finally:
        os.close(orphan)


def _namespaces() -> Check:
    reason = namespace.why_not()
    return Check(
        "namespaces",
        reason is None,
        reason or "a pid namespace was made",
        "isolation='pidns' ends a worker with what has left its group too: docs/orphans",
        namespace.REMEDY,
    )


def _spawn() -> Check:
    ok = libc.available()
    return Check(
        "posix_spawn",
        ok,
        "closefrom, chdir" if ok else "only the standard library's",
        "workers are launched without stopping the program, else for about 0.4 ms each, and without cwd",
        "glibc 2.34 or later, and a Python with ctypes",
    )


def _descriptors() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    slots = max((soft - _FDS_OF_OURS) // _FDS_A_SLOT, 0) if soft != resource.RLIM_INFINITY else 0
    unlimited = soft == resource.RLIM_INFINITY
    return Check(
        "descriptors",
        unlimited or slots >= usable_cpus(),
        "no limit" if unlimited else f"{soft:,}: about {slots:,} slots",
        f"each slot takes {_FDS_A_SLOT}",
        f"`ulimit -n`, at most {'unlimited' if hard == resource.RLIM_INFINITY else f'{hard:,}'} here",
        required=True,
    )


def _cpus() -> Check:
    usable, all_of_them = usable_cpus(), os.cpu_count() or 1
    return Check("cpus", True, f"{usable} of {all_of_them}", "slots by default: affinity and cgroup quota")


def _pythons() -> Iterator[Check]:
    for version in ("3.11", "3.12", "3.13"):
        path = shutil.which(f"python{version}")
        said = _ask([path, "-c", "import platform; print(platform.python_version())"]) if path else None
        yield Check(
            f"python{version}",
            said is not None,
            f"{said} ({path})" if said else "not on PATH" if path is None else "does not run",
            "the tests run on each that is there",
            f"install Python {version}",
        )


def _extras() -> Iterator[Check]:
    for module, (extra, meaning) in _EXTRAS.items():
        found = find_spec(module) is not None
        words = "installed" if found else "not installed"
        yield Check(module, found, words, meaning, f"pip install 'trio-folk[{extra}]'")


def _php() -> Check:
    modules = _ask(["php", "-m"])
    ok = modules is not None and "msgpack" in modules.split()
    found = "not on PATH" if modules is None else "with msgpack" if ok else "without msgpack"
    return Check("php", ok, found, "workers in PHP", "on Debian: apt install php-cli php-msgpack")


def _node() -> Check:
    said = _ask(["node", "--version"])
    return Check(
        "node", said is not None, said or "not on PATH", "workers in Node", "on Debian: apt install nodejs"
    )


def _ask(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _worker() -> Check:
    meaning = "a worker was born, called and ended"
    try:
        ready, call = trio.run(_boot)
    except FolkError as error:
        return Check("worker", False, error.message, meaning, error.hint or str(error), required=True)
    return Check("worker", True, f"ready in {ready:.0f} ms, a call in {call:.0f} us", meaning, required=True)


async def _boot() -> tuple[float, float]:
    """Milliseconds to the first worker, microseconds for the fastest of a hundred calls."""
    clock: Callable[[], float] = time.perf_counter
    began = clock()
    config = PoolConfig(slots=1, boot_timeout=_PATIENCE)
    async with open_pool(PipeRuntime.python(), config=config, name="doctor") as pool:
        ready = clock() - began
        times = []
        for _ in range(100):
            began = clock()
            await pool.execute("echo", exec_timeout=_PATIENCE)
            times.append(clock() - began)
    return ready * 1e3, min(times) * 1e6

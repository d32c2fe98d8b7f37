"""Methods and functions that the tests of the worker room call; imported in the child and in the tests."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from trio_folk.worker import Worker

worker = Worker()
SEEN: list[str] = []
patient = Worker()


@worker.method("nap")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@patient.method
async def nap(seconds: float) -> float:
    import trio  # the other worker must do without

    await trio.sleep(seconds)
    return seconds


@worker.method
def add(left: int, right: int = 0) -> int:
    return left + right


@worker.method
def note(text: str) -> list[str]:
    """Remember a text; the texts so far show what ran, and in which order."""
    SEEN.append(text)
    return list(SEEN)


@worker.method(raw=True)
def kind(params: Any) -> str:
    return type(params).__name__


@worker.method
def fail(message: str) -> None:
    raise LookupError(message)


@worker.method
def leave(how: str) -> None:
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[how]


@worker.method
def large(size: int) -> bytes:
    return bytes(size)


@worker.method
def unencodable() -> Any:
    return {"deep": [{1, 2}]}


@worker.method
def speak() -> None:
    print("printed")
    os.write(1, b"written\n")
    os.system("echo shouted")
    print("complained", file=sys.stderr)


@worker.method
def environment() -> dict[str, str]:
    return dict(os.environ)


@worker.method
def spin(pipe: int) -> None:
    """Start a child that holds the pipe, say so there, and never come back."""
    os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)
    os.write(pipe, b"spinning")
    while True:
        pass


@worker.method
def start_sleeper() -> int:
    """Start a process that outlives the worker, and has whatever was left inheritable."""
    return os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ, setpgroup=0)


@worker.method
def fork_sleeper() -> int:
    """Fork without exec, as multiprocessing does; the child leaves the group."""
    pid = os.fork()
    if pid == 0:
        import signal

        os.setpgid(0, 0)
        signal.pause()
        os._exit(0)
    os.setpgid(pid, pid)  # both say it, for either may come first
    return pid


@worker.method
def at_exit(path: str) -> None:
    import atexit
    from pathlib import Path

    atexit.register(Path(path).write_text, "ran")


def multiply(left: int, right: int = 1) -> int:
    return left * right


def raise_it(error: BaseException) -> None:
    raise error


def make_lambda() -> Any:
    return lambda: None


async def asynchronous() -> None:
    raise AssertionError("never runs")


class Stubborn(Exception):
    """Pickles, but does not load again: its __init__ wants two arguments and its args hold one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


class Rancid:
    """Arguments that raise when they are unpickled."""

    def __reduce__(self) -> Any:
        return raise_it, (LookupError("rancid"),)


def fail_to_load() -> None:
    SEEN.append("tried")
    raise LookupError("not today")


class Empty:
    """Can be called, counts it, and is falsy."""

    calls = 0

    def __bool__(self) -> bool:
        return False

    def __call__(self) -> int:
        self.calls += 1
        return self.calls

"""The methods that bench/cancels.py cancels: some look whether they are still wanted, some do not.

Each tells its pid, and that of a child of its own, through the bell of a `Rendezvous` once it runs. What is not
needed to answer is imported late: the time to the next answer is a worker's birth, and must not be that of trio.

Knows trio_folk.worker. Does not know who cancels, nor what is measured.
"""

from __future__ import annotations

import os
import sys
import time

from trio_folk.worker import Worker, current_call

C_CALL = 0.1  # seconds
_FOREVER = 4000  # seconds, as many as usleep(3) takes

sync = Worker()
eager = Worker(concurrency=2)


@sync.method
def pid() -> int:
    """Answer at once."""
    return os.getpid()


@sync.method
def looks_between_sleeps(directory: str) -> None:
    """Look each millisecond."""
    _tell(directory)
    while True:
        current_call().checkpoint()
        time.sleep(0.001)


@sync.method
def looks_in_a_loop(directory: str) -> None:
    """Compute, and look at each turn."""
    _tell(directory)
    while True:
        current_call().checkpoint()


@sync.method
def looks_after_c(directory: str) -> None:
    """Look after each call of C code that holds the interpreter's lock."""
    _tell(directory)
    while True:
        _hold(C_CALL)
        current_call().checkpoint()


@sync.method
def loops(directory: str) -> None:
    """Compute in Python, and never look."""
    _tell(directory)
    while True:
        len("a loop")


@sync.method
def loops_with_a_child(directory: str) -> None:
    """The same, with a child in the worker's group."""
    _tell(directory, _child())
    while True:
        len("a loop")


@sync.method
def stays_in_c(directory: str) -> None:
    """Never come back from C code that holds the interpreter's lock."""
    _tell(directory, _child())
    _hold(_FOREVER)


@sync.method
def stays_in_c_with_a_handler(directory: str) -> None:
    """The same, with a handler for SIGTERM, which is Python and cannot run."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    _tell(directory, _child())
    _hold(_FOREVER)


@eager.method
async def sleeps(directory: str) -> None:
    """Wait, as async methods do."""
    import trio

    _tell(directory)
    await trio.sleep_forever()


@eager.method
async def waits_beside_c(directory: str) -> None:
    """Wait, while the process is in C code again and again."""
    import trio

    _tell(directory)
    while True:
        _hold(C_CALL)
        await trio.lowlevel.checkpoint()


eager.method(pid)
eager.method(looks_between_sleeps)


def _hold(seconds: float) -> None:
    import ctypes

    # unlike CDLL, PyDLL keeps the interpreter's lock during a call
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def _child() -> int:
    import subprocess

    return subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]).pid


def _tell(directory: str, *others: int) -> None:
    bell = os.open(os.path.join(directory, "bell"), os.O_WRONLY)
    try:
        for number in (os.getpid(), *others):
            os.write(bell, b"%10d" % number)  # below PIPE_BUF, so whole: pipe(7)
    finally:
        os.close(bell)

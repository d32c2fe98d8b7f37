"""What tests of cancellation have done in workers: some of it looks whether it is still wanted, some does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextvars import ContextVar
from pathlib import Path

import trio

from trio_folk.worker import CallCancelled, Worker, current_call

request_id: ContextVar[str] = ContextVar("request_id", default="none")
polite = Worker(context=[request_id])
eager = Worker(concurrency=4, context=[request_id])
ran = 0


@polite.method
def pid() -> int:
    return os.getpid()


@polite.method
def steps(trace: str) -> str:
    """Loop until it is cancelled; say so in a file."""
    Path(trace).write_text("began")
    try:
        while True:
            current_call().checkpoint()
            time.sleep(0.001)
    except CallCancelled:
        Path(trace).write_text("cleaned up")
        raise


@polite.method
def looks(trace: str) -> str:
    """Ask, and answer with what it has so far."""
    Path(trace).write_text("began")
    while not current_call().cancelled:
        time.sleep(0.001)
    return "so far"


@polite.method
def spin_with_child(trace: str) -> None:
    """A pure-Python loop that looks at nothing, with a child in its group."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    Path(trace).write_text(f"{os.getpid()} {child.pid}")
    while True:
        len("a loop")


@polite.method
def remaining() -> float:
    return current_call().remaining()


@polite.method
def context() -> tuple[str, object]:
    return request_id.get(), dict(current_call().context)


@polite.method
def work(seconds: float) -> int:
    """Be counted, and end early if it is not wanted."""
    global ran
    ran += 1
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        current_call().checkpoint()
    return os.getpid()


eager.method(pid)
eager.method(remaining)
eager.method("context in a thread")(context)


@eager.method("context")
async def context_of_a_task() -> tuple[str, object]:
    await trio.lowlevel.checkpoint()
    return context()


@eager.method
async def sleeps(trace: str) -> None:
    Path(trace).write_text("began")
    try:
        await trio.sleep(600)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
            Path(trace).write_text("cleaned up")
        raise


@eager.method("steps")
def steps_in_a_thread(trace: str) -> str:
    return steps(trace)


@eager.method
async def fails_when_cancelled(trace: str) -> None:
    Path(trace).write_text("began")
    try:
        await trio.sleep(600)
    finally:
        raise ValueError("while it cleaned up")

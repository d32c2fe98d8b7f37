"""Functions that the tests of large buffers run in workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

kept: list[Any] = []


def echo(value: Any) -> Any:
    """Give back what came."""
    return value


def kind(value: Any) -> tuple[str, bool]:
    """The type of what came, and whether it can be changed."""
    if type(value).__name__ == "ndarray":
        return "ndarray", value.flags.writeable
    return type(value).__name__, not memoryview(value).readonly


def filled(byte: int, size: int) -> Any:
    """A bytearray of one byte's value."""
    return memoryview(bytearray([byte]) * size)


def total(value: Any) -> int:
    """How many bytes came, if all are alike; and nothing of them is kept."""
    view = memoryview(value).cast("B")
    assert view[0] == view[-1] == view[len(view) // 2]
    return len(view)


def keep(value: Any) -> None:
    """Hold on to it."""
    kept.append(value)


def kept_bytes() -> list[tuple[int, int]]:
    """The first and the last byte of each thing that was kept."""
    return [(memoryview(each).cast("B")[0], memoryview(each).cast("B")[-1]) for each in kept]


def let_go() -> None:
    """Let go of everything that was kept."""
    kept.clear()


def raise_with(value: Any) -> None:
    """Fail with the argument on the stack."""
    raise ValueError(len(value))


def nap(value: Any, seconds: float) -> int:
    """Take a while over it."""
    time.sleep(seconds)
    return len(value)


def segments() -> list[str]:
    """The segments that are mapped here; each once for each mapping."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:trio_folk" in line]


def count() -> int:
    """How many there are."""
    return len(segments())


def descriptors_of_a_child(value: Any) -> list[str]:
    """What a program that is started now has open."""
    script = (
        "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], close_fds=False, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def fork_and_forget(value: Any) -> int:
    """A forked child lets go of its copy of the argument, and ends as programs do; its status."""
    pid = os.fork()
    if pid == 0:
        del value
        kept.clear()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def modules() -> list[str]:
    """What has been imported."""
    return list(sys.modules)

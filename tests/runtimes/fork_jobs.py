"""What the tests of ForkRuntime call in a forked worker."""

from __future__ import annotations

import atexit
import os
import random
import signal
import subprocess
import sys
import threading
import time

from trio_folk.worker import Worker

worker = Worker()
LATE_THREAD = signal.SIGUSR1
at_fork: list[str] = []
os.register_at_fork(after_in_child=lambda: at_fork.append("child"))


def start_a_thread(*_: object) -> None:
    """Sent to a zygote: it has a second thread from then on."""
    threading.Thread(target=time.sleep, args=(3600,), name="latecomer", daemon=True).start()


signal.signal(LATE_THREAD, start_a_thread)


@worker.method
def about() -> dict[str, object]:
    """What a forked process can have got wrong."""
    return {
        "pid": os.getpid(),
        "zygote": os.getppid(),
        "group": os.getpgrp(),
        "descriptors": descriptors(),
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "at_fork": at_fork,
        "folk": sorted(name for name in os.environ if name.startswith("FOLK_")),
    }


def descriptors() -> list[int]:
    """The numbers that are open, without the listing's own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.append(int(name))
    return sorted(found)


@worker.method
def leave_things_to_the_end(path: str) -> None:
    """A thread that is not a daemon, an exit handler, half a line of output."""

    def note(what: str) -> None:
        with open(path, "a") as file:
            file.write(f"{what}\n")

    def work() -> None:
        threading.main_thread().join()
        time.sleep(0.1)
        note("thread")

    atexit.register(note, "exit handler")
    threading.Thread(target=work).start()
    sys.stdout.write("half a line")


@worker.method
def draw() -> list[str]:
    """Numbers that should be nobody else's."""
    drawn = [random.random()]
    if "numpy" in sys.modules:
        drawn.append(float(sys.modules["numpy"].random.random()))
    return [repr(each) for each in drawn]


@worker.method
def child() -> int:
    """A process that stays when this one ends, unless its group is ended."""
    return subprocess.Popen(["sleep", "3600"]).pid


@worker.method
def say(text: str) -> None:
    """Print to both streams."""
    print(text)
    print(text, file=sys.stderr)


@worker.method
def spin() -> None:
    """Never returns."""
    while True:
        pass


@worker.method
def leave(status: int) -> None:
    """Ends this process."""
    os._exit(status)

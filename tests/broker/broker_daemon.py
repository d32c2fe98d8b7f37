"""The daemon of these tests. What it does is said in its environment; it counts itself.

ALIVE      a file that each daemon locks while it serves; another one that finds it locked says so in LOG
COUNTED    a file that gets a line for each birth, and one for each time that two were alive
WARM       seconds that it blocks before it is ready
BROKEN     "import": it dies at once; "hang": it never binds; "never": it is never ready
IDLE, VERSION, DRAIN
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from trio_folk.broker import BackendConnection, BackendListener, BrokeredBackend, bootstrap

BROKEN = os.environ.get("BROKEN", "")


class Counting(BrokeredBackend):
    """Says its pid on the first line, then repeats what it hears; "sleep" makes it say nothing for long."""

    version = os.environ.get("VERSION")

    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        with counted():
            if warm := float(os.environ.get("WARM", "0")):
                await trio.sleep(warm)
            if BROKEN == "never":
                await trio.sleep_forever()
            task_status.started()
            try:
                await listener.serve(echo)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(float(os.environ.get("LINGER", "0")))

    async def release_handles(self, prefix: str) -> None:
        if "SUPPORTS" not in os.environ:
            raise NotImplementedError
        note(f"released {prefix}")

    async def quiesce(self, reason: str) -> None:
        note(f"quiesced {reason}")
        if "DEAF" in os.environ:
            await trio.sleep_forever()


async def echo(connection: BackendConnection) -> None:
    await connection.send_all(b"%d\n" % os.getpid())
    async for data in connection:
        await connection.send_all(data)


def note(line: str) -> None:
    if path := os.environ.get("COUNTED"):
        with open(path, "a") as file:
            file.write(f"{line}\n")


@contextmanager
def counted() -> Iterator[None]:
    if "ALIVE" not in os.environ:
        yield
        return
    with open(os.environ["ALIVE"], "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("two")
        note(f"born {os.getpid()}")
        yield


if __name__ == "__main__":
    if BROKEN == "import":
        print("there is no module named 'pillow'", file=sys.stderr)
        sys.exit(3)
    if BROKEN == "hang":
        time.sleep(3600)
    drain = float(os.environ.get("DRAIN", "10"))
    trio.run(lambda: bootstrap(Counting, drain_timeout=drain))

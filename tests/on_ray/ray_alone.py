"""A program with a pool on a Ray of its own; it prints what a test wants to know. Run by `test_on_ray_alone`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import trio

from trio_folk import RayRuntime, open_pool

_MIB = 1024 * 1024
OPTIONS = {"num_cpus": 2, "object_store_memory": 100 * _MIB}


def descendants() -> list[str]:
    """The commands of all processes below this one, but the one that lists them."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below, found = {str(os.getpid())}, []
    for _ in rows:
        for pid, parent, command in rows:
            if parent in below and pid not in below and command.strip() != "ps":
                below.add(pid)
                found.append(command.strip())
    return found


async def main() -> dict[str, object]:
    """Two pools share one Ray; then there is none."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with open_pool(RayRuntime(cpus=0, init=OPTIONS), slots=1) as pool:
        async with open_pool(RayRuntime(cpus=0, init=OPTIONS), slots=1) as other:
            pids = {await each.run_sync(os.getpid) for each in (pool, other)}
            during = descendants()
        answers = await pool.run_sync(os.getpid) in pids  # the first goes on when the second has left
    return {
        "workers": len(pids),
        "answers": answers,
        "raylets": during.count("raylet"),
        "left": descendants(),
        "threads": [each.name for each in threading.enumerate() if each.name == "trio_folk ray"],
        "handlers kept": handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    }


if __name__ == "__main__":
    json.dump(trio.run(main), sys.stdout)

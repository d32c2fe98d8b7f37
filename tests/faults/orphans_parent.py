"""A program with pools of busy workers, to be killed: ``python orphans_parent.py DIRECTORY WORKER...``.

Each WORKER is one of ``python``, ``fork``, ``php=SCRIPT``, ``php-fork=SCRIPT``, ``program=PATH``, and
``namespace=PATH``: the program in a pid namespace, with a child that leaves its group. With ``--frozen`` this passes
for a program that has no interpreter to start a guardian with.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import orphan_jobs
import trio

from trio_folk import ForkRuntime, PipeRuntime, WorkerPool, open_pool
from trio_folk.abc import Runtime


def runtime_of(kind: str, path: str, directory: str) -> Runtime:
    match kind:
        case "python":
            return PipeRuntime.python()
        case "fork":
            return ForkRuntime(preload=["orphan_jobs"])
        case "php":
            return PipeRuntime.php(path)
        case "php-fork":
            return ForkRuntime.php(path)
        case "namespace":
            return PipeRuntime([path, directory, "escape"], isolation="pidns")
        case _:
            return PipeRuntime([path, directory])


async def occupy(pool: WorkerPool, kind: str, number: int, directory: str) -> None:
    match kind:
        case "python" | "fork":
            await pool.run_sync(orphan_jobs.hold_the_interpreter, directory)
        case "php-fork":
            pid = await pool.execute("pid")
            await trio.to_thread.run_sync(Path(directory, f"{kind}.{number}").write_text, str(pid))
            await pool.execute("sleep", [300])
        case _:
            await pool.execute("be busy", directory)


async def main(directory: str, *workers: str) -> None:
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for worker in workers:
            kind, _, path = worker.partition("=")
            runtime = runtime_of(kind, path, directory)
            slots = 1 if kind == "namespace" else 2  # each would tell its own pid, which is 2 in every one
            pool = await stack.enter_async_context(open_pool(runtime, slots=slots, name=kind))
            await pool.wait_ready(slots)
            for number in range(slots):
                nursery.start_soon(occupy, pool, kind, number, directory)


if "--frozen" in sys.argv:
    sys.frozen = True  # type: ignore[attr-defined]
    sys.argv.remove("--frozen")
trio.run(main, *sys.argv[1:])

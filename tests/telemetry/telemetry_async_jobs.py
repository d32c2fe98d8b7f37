"""The same worker with async methods, and several calls at once."""

from __future__ import annotations

import telemetry_jobs
import trio
from telemetry_functions import tracer

from trio_folk.worker import Worker

worker = Worker(concurrency=2)
worker.method(telemetry_jobs.spans)
worker.method("work_in_thread")(telemetry_jobs.work)


@worker.method
async def work(name: str) -> None:
    """A span of one's own, around a wait in which another call runs."""
    await trio.sleep(0.01)
    with tracer.start_as_current_span(f"own {name}"):
        await trio.sleep(0.01)

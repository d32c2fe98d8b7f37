"""Async methods for the tests of the worker's trio loop in a real child."""

from __future__ import annotations

import threading
import time

import trio

from trio_folk.worker import Worker

worker = Worker(concurrency=3)
_doors: dict[str, trio.Event] = {}


def door(name: str) -> trio.Event:
    return _doors.setdefault(name, trio.Event())


@worker.method
async def wait_for(name: str) -> str:
    await door(name).wait()
    return name


@worker.method
async def open_door(name: str) -> str:
    door(name).set()
    return f"opened {name}"


@worker.method
async def fail() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        raise LookupError("in a nursery")


@worker.method
def in_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


@worker.method
def spin() -> None:
    while True:
        time.sleep(0.01)

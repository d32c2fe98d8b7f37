"""Functions with one fault each, which shows only when they are cancelled at the right moment; and correct ones.

``# here`` marks the line where the cancellation that shows it is raised, ``# then`` the line of the clean-up where
it is raised again, or where it hangs. What the faults leave behind, `clear_away` takes.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
ECHO = [sys.executable, "-I", "-S", "-c", "print(input())"]

descriptors: list[int] = []
children: list[subprocess.Popen[bytes]] = []
events: list[threading.Event] = []


def clear_away() -> None:
    """End what the faults have left."""
    for number in descriptors:
        with contextlib.suppress(OSError):
            os.close(number)
    for child in children:
        child.kill()
        child.wait()
    for event in events:
        event.set()
    descriptors.clear()
    children.clear()
    events.clear()


def marked(fn: Callable[..., Any], mark: str) -> list[str]:
    """The places in the function with this mark, as reports name them."""
    lines, first = inspect.getsourcelines(fn)
    numbers = [first + number for number, line in enumerate(lines) if f"# {mark}" in line]
    return [f"planted.py:{number} in {fn.__name__}" for number in numbers]


def open_null() -> int:
    number = os.open("/dev/null", os.O_RDONLY)
    descriptors.append(number)
    return number


def close(number: int) -> None:
    os.close(number)
    descriptors.remove(number)


# Faults


async def awaits_in_finally() -> None:
    """The unshielded await of the clean-up is cancelled as well."""
    number = open_null()
    try:
        await trio.lowlevel.checkpoint()  # here
    finally:
        await trio.lowlevel.checkpoint()  # then
        close(number)


async def opens_between_awaits() -> None:
    """An await stands between the opening and the ``try``."""
    await trio.lowlevel.checkpoint()
    number = open_null()
    await trio.lowlevel.checkpoint()  # here
    try:
        await trio.lowlevel.checkpoint()
    finally:
        close(number)


async def opens_inside_a_step() -> None:
    """Both checkpoints are passed in one step; only a cancellation between them shows it."""
    await trio.lowlevel.checkpoint_if_cancelled()
    number = open_null()
    await trio.lowlevel.checkpoint_if_cancelled()  # here
    close(number)


async def abandons_thread() -> None:
    """The thread goes on, and nobody waits for it any more."""
    done = threading.Event()
    events.append(done)

    async def finish() -> None:
        await trio.sleep(0.01)  # here, if it comes first
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        await trio.to_thread.run_sync(done.wait, 60, abandon_on_cancel=True)  # here


async def leaves_zombie() -> None:
    """The child ends, and nobody asks how."""
    child = subprocess.Popen(["true"])
    children.append(child)
    await trio.sleep(0.001)  # here
    child.wait()


async def leaves_child() -> None:
    """The child does not even end."""
    child = subprocess.Popen(SLEEPER)
    children.append(child)
    await trio.sleep(0.001)  # here
    child.kill()
    child.wait()


async def keeps_lock() -> None:
    """The lock is not released."""
    lock = trio.Lock()
    await lock.acquire()
    await trio.lowlevel.checkpoint()  # here
    lock.release()


async def ends_with_lock() -> None:
    """A task ends with the lock in its hands."""
    lock = trio.Lock()

    async def work() -> None:
        await lock.acquire()
        await trio.lowlevel.checkpoint()  # here
        lock.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)


async def swallows() -> None:
    """Cancelled is taken for an error among others."""
    try:
        await trio.sleep(0.001)  # here
    except BaseException:
        return


async def leaves_task(nursery: trio.Nursery) -> None:
    """The task in the nursery of somebody else goes on."""
    done = trio.Event()
    nursery.start_soon(done.wait)
    await trio.lowlevel.checkpoint()  # here
    done.set()


async def leaves_system_task() -> None:
    """So does a system task."""
    done = trio.Event()
    trio.lowlevel.spawn_system_task(done.wait)
    await trio.lowlevel.checkpoint()  # here
    done.set()


async def deadlocks() -> None:
    """The clean-up waits for a task that was cancelled too."""
    done = trio.Event()

    async def work() -> None:
        await trio.sleep(0.001)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        try:
            await trio.sleep(0.002)  # here
        finally:
            with trio.CancelScope(shield=True):
                await done.wait()  # then


async def spins() -> None:
    """The clean-up asks again and again for what will not come."""
    done = trio.Event()
    try:
        await trio.lowlevel.checkpoint()  # here
        done.set()
    finally:
        with trio.CancelScope(shield=True):
            while not done.is_set():
                await trio.sleep(0.001)  # then


async def waits_for_thread() -> None:
    """The clean-up waits for a thread that does not end; nothing can cancel that."""
    done = threading.Event()
    events.append(done)
    try:
        await trio.lowlevel.checkpoint()  # here
        done.set()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(done.wait, 60)  # then


@attrs.define
class Box:
    """A queue, and what was taken from it."""

    send: trio.MemorySendChannel[int]
    receive: trio.MemoryReceiveChannel[int]
    kept: list[int] = attrs.field(factory=list)

    def is_whole(self) -> bool:
        return len(self.kept) + self.receive.statistics().current_buffer_used == 2


@asynccontextmanager
async def open_box() -> AsyncIterator[Box]:
    box = Box(*trio.open_memory_channel[int](2))
    for item in range(2):
        box.send.send_nowait(item)
    yield box


async def loses_item(box: Box) -> None:
    """What was taken from the queue is not yet kept."""
    item = await box.receive.receive()
    await trio.lowlevel.checkpoint()  # here
    box.kept.append(item)


async def cleans_up_in_time() -> None:
    """The clean-up is shielded, but not against its own deadline."""
    number = open_null()
    try:
        await trio.lowlevel.checkpoint()  # here
    finally:
        with trio.move_on_after(5, shield=True):
            await trio.lowlevel.checkpoint()  # then
            close(number)


async def opens_at_a_bad_moment() -> None:
    """Only while the shielded task is half done does the clean-up go wrong; that task itself cannot be cancelled."""
    half = False

    async def work() -> None:
        nonlocal half
        with trio.CancelScope(shield=True):
            await trio.sleep(0.001)
            half = True
            await trio.sleep(0.001)
            half = False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        try:
            await trio.sleep(0.1)  # here
        finally:
            if half:
                open_null()


async def leaves_socket_to_the_collector() -> None:
    """Nobody closes the socket; when its frame goes, so does it."""
    left, right = trio.socket.socketpair()
    await left.send(b"x")  # here
    await right.recv(1)
    left.close()
    right.close()


async def misnests() -> None:
    """The scope is left while one inside it is still open."""
    outer, inner = trio.CancelScope(), trio.CancelScope()
    outer.__enter__()
    inner.__enter__()
    try:
        await trio.lowlevel.checkpoint()  # here
        inner.__exit__(None, None, None)
    finally:
        outer.__exit__(*sys.exc_info())


@asynccontextmanager
async def a_nursery() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


# Correct


async def shields_clean_up() -> None:
    number = open_null()
    try:
        await trio.lowlevel.checkpoint()
    finally:
        try:
            with trio.move_on_after(5, shield=True):
                await trio.lowlevel.checkpoint()
        finally:
            close(number)


async def waits_for_its_thread() -> None:
    assert await trio.to_thread.run_sync(os.getpid) == os.getpid()


async def lets_its_thread_end() -> None:
    await trio.to_thread.run_sync(time.sleep, 0.05, abandon_on_cancel=True)


async def runs_process() -> None:
    done = await trio.run_process(ECHO, stdin=b"word\n", capture_stdout=True)
    assert done.stdout == b"word\n"


async def talks_through_sockets() -> None:
    left, right = trio.socket.socketpair()
    async with trio.SocketStream(left) as one, trio.SocketStream(right) as other:
        await one.send_all(b"word")
        assert await other.receive_some(4) == b"word"


async def passes_items_on() -> None:
    send, receive = trio.open_memory_channel[int](0)

    async def produce() -> None:
        async with send:
            for item in range(3):
                await send.send(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        async with receive:
            assert [item async for item in receive] == [0, 1, 2]


async def takes_turns() -> None:
    lock = trio.Lock()

    async def turn() -> None:
        async with lock:
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(turn)


async def starts_service() -> None:
    async def serve(task_status: trio.TaskStatus[int]) -> None:
        number = open_null()
        try:
            await trio.lowlevel.checkpoint()
            task_status.started(number)
            await trio.sleep_forever()
        finally:
            close(number)

    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve) > 2
        nursery.cancel_scope.cancel()


async def starts_service_elsewhere(nursery: trio.Nursery) -> None:
    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started()
        await trio.sleep_forever()

    await nursery.start(serve)


async def times_out() -> None:
    with trio.move_on_after(0.001) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def iterates() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        number = open_null()
        try:
            for item in range(3):
                await trio.lowlevel.checkpoint()
                yield item
        finally:
            close(number)

    async with contextlib.aclosing(numbers()) as items:
        async for _ in items:
            await trio.lowlevel.checkpoint()


async def reads_file() -> None:
    async with await trio.open_file(__file__) as file:
        assert await file.readline()


async def keeps_item(box: Box) -> None:
    box.kept.append(await box.receive.receive())
    await trio.lowlevel.checkpoint()

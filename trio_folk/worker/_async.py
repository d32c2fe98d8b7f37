"""The loop of a worker with async methods, or with several calls at once: each call is a trio task.

A loop that reads as fast as it can collects calls that another worker could have run, and one that lets a
method's failure into its nursery takes the other calls down. This one reads when there is a free seat, and
answers every failure where it happens.

Invariants
    1. No more calls run than the worker declared; those beyond them are at most what one read brought.
    2. A frame is written whole before the next one begins.
    3. A method's failure never reaches another call; a cancellation of the loop reaches all, and no method
       can swallow it.
    4. End of file ends the loop when the running calls were answered.

Knows trio and one descriptor that does not block. Does not know the control channel, or what the calls do.
"""

from __future__ import annotations

import os
from typing import Protocol

import trio

from .._errors import ProtocolError
from .._wire import MAX_FRAME, Message, MessageDecoder, Notify, Request
from ._dispatch import answer, failure, method_call, success
from ._python import DEFINE, Functions
from ._sync import READ
from ._worker import Worker

__all__ = ["HasFileno", "run", "serve"]


def run(worker: Worker, task_fd: int, limit: int) -> None:
    """Be the whole program of a worker process: `serve` until its end.

    Raises:
        ProtocolError: what came is not the protocol.
    """

    async def main() -> None:
        await serve(worker, task_fd, limit=limit)

    trio.run(main)


class HasFileno(Protocol):
    """A socket, of trio or of the standard library."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


async def serve(
    worker: Worker, task: HasFileno | int, *, limit: int = MAX_FRAME, in_process: bool = False
) -> None:
    """Answer calls until end of file, or until nobody reads the replies.

    Args:
        worker: whose methods are called.
        task: the task channel; it is made non-blocking, and stays the caller's to close.
        limit: the longest payload either way.
        in_process: the parent lives in this process: synchronous methods run inline, never in threads, and a
            KeyboardInterrupt is the program's and not a method's.

    Raises:
        ProtocolError: what came is not the protocol. Calls that ran were cancelled.

    Cancellation: running methods are cancelled and nothing more is written, not even the rest of a frame.
    """
    fd = task if isinstance(task, int) else task.fileno()
    os.set_blocking(fd, False)
    await _Server(worker, fd, limit, in_process).run()


class _Server:
    def __init__(self, worker: Worker, fd: int, limit: int, in_process: bool) -> None:
        self._worker = worker
        self._fd = fd
        self._limit = limit
        self._inline = in_process or worker.concurrency == 1
        self._fatal: tuple[type[BaseException], ...] = (KeyboardInterrupt,) if in_process else ()
        self._decoder = MessageDecoder(limit)
        self._functions = Functions()
        self._seats = trio.Semaphore(worker.concurrency)
        self._threads = trio.CapacityLimiter(worker.concurrency)
        self._writing = trio.Lock()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        broken: ProtocolError | None = None
        with self._scope:
            async with trio.open_nursery() as nursery:
                try:
                    while await self._turn(nursery):
                        pass
                    self._decoder.close()
                except ProtocolError as error:
                    # Raised outside the nursery, so that it comes bare.
                    broken = error
                    self._scope.cancel()
        if broken is not None:
            raise broken

    async def _turn(self, nursery: trio.Nursery) -> bool:
        """Take what one read brings; a frame of its own, so that nothing of it stays."""
        data = await self._read()
        for message in self._decoder.feed(data):
            await self._take(message, nursery)
        return bool(data) and self._decoder.error is None

    async def _take(self, message: Message, nursery: trio.Nursery) -> None:
        if type(message) is Notify and message.method == DEFINE:
            self._functions.define(message.params)
        elif type(message) is not Request:
            return
        elif self._worker.concurrency == 1:
            await self._serve(message)
        else:
            await self._seats.acquire()
            nursery.start_soon(self._serve_seated, message)

    async def _serve_seated(self, request: Request) -> None:
        try:
            await self._serve(request)
        finally:
            self._seats.release()

    async def _serve(self, request: Request) -> None:
        method = self._worker._methods.get(request.method)
        if method is not None and method.is_async:
            frame = await self._call_async(request)
        elif self._inline:
            frame = answer(self._worker, self._functions, request, self._limit, self._fatal)
        else:
            # Abandoned only when the parent is gone or talks nonsense: the process ends, and the thread with it.
            frame = await trio.to_thread.run_sync(
                answer,
                self._worker,
                self._functions,
                request,
                self._limit,
                limiter=self._threads,
                abandon_on_cancel=True,
            )
        await self._write(frame)

    async def _call_async(self, request: Request) -> bytes:
        call, args, kwargs = method_call(self._worker, request.method, request.params)
        try:
            value = await call.fn(*args, **kwargs)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as exc:
            if _holds(exc, self._fatal):
                raise
            # A group may hold a Cancelled beside a failure. It is not lost: the next checkpoint raises it again,
            # before a byte is written.
            return failure(call, request.msgid, exc, self._limit)
        return success(call, request.msgid, value, self._limit)

    async def _read(self) -> bytes:
        waited = False
        while True:
            try:
                data = os.read(self._fd, READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._fd)
                waited = True
            except ConnectionResetError:  # the parent closed its end with our replies unread in it
                return b""
            else:
                if not waited:
                    await trio.lowlevel.checkpoint()  # a parent that never pauses must not starve the calls
                return data

    async def _write(self, frame: bytes) -> None:
        rest = memoryview(frame)
        async with self._writing:
            try:
                while rest:
                    try:
                        rest = rest[os.write(self._fd, rest) :]
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(self._fd)
            except (BrokenPipeError, ConnectionResetError):
                self._scope.cancel()  # the parent closed its end, and wants no replies


def _holds(exc: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether it is one of these, or a group with one of them in it."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(kinds) is not None
    return isinstance(exc, kinds)

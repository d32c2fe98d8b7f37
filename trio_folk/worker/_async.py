"""The loop of a worker with async methods, or with several calls at once: each call is a trio task.

A loop that reads as fast as it can collects calls that another worker could have run, and one that lets a
method's failure into its nursery takes the other calls down. This one reads when there is a free seat, and
answers every failure where it happens.

Invariants
    1. No more calls run than the worker declared; those beyond them are at most what one read brought. Of a single
       seat they are begun in their order, each when the reply to the last has left, and until then given back.
    2. A method's failure never reaches another call; a cancellation of the loop reaches all, and no method
       can swallow it.
    3. End of file ends the loop when the running calls were answered.
    4. A cancelled call is answered like every other; its own scope is all that its cancellation reaches.

Knows trio and one descriptor that does not block. Does not know what the calls do.
"""

from __future__ import annotations

import _thread
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol

import trio

from .._errors import ProtocolError
from .._wire import MAX_FRAME, Message, MessageDecoder, Notify, Request
from ._async_outbox import Outbox
from ._async_stream import Stoppable, holds, stream_async
from ._buffers import Buffers
from ._current import Adopted, Running, entered
from ._dispatch import EXECUTE, answer, cancelled, failure, method_call, success, unwrap
from ._progress import Reports
from ._python import Functions
from ._stream import open_items, stream
from ._sync import READ
from ._worker import Worker

__all__ = ["HasFileno", "run", "serve"]


def run(
    worker: Worker,
    task_fd: int,
    limit: int,
    running: Running,
    buffers: Buffers | None = None,
    begin: Callable[[], bool] = lambda: True,
) -> None:
    """Be the whole program of a worker process: `serve` until its end.

    Args:
        begin: called when it can serve; whether anybody is there.

    Raises:
        ProtocolError: what came is not the protocol.
        TargetError: what stands around the worker's calls failed to start.
    """

    async def main() -> None:
        server = _Server(worker, task_fd, limit, False, running, buffers)
        server.soon = server.from_any_thread
        running.on_cancel = lambda msgid: server.soon(partial(server.cancel, msgid))
        async with worker._around() if worker._around is not None else nullcontext():
            if begin():
                await server.run()

    trio.run(main)


class HasFileno(Protocol):
    """A socket, of trio or of the standard library."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


async def serve(
    worker: Worker,
    task: HasFileno | int,
    control: HasFileno | int | None = None,
    *,
    limit: int = MAX_FRAME,
    in_process: bool = False,
) -> None:
    """Answer calls until end of file, or until nobody reads the replies.

    Args:
        worker: whose methods are called.
        task: the task channel; it is made non-blocking, and stays the caller's to close.
        control: the control channel, from which cancellations are read; likewise.
        limit: the longest payload either way.
        in_process: the parent lives in this process: synchronous methods run inline, never in threads, and a
            KeyboardInterrupt is the program's and not a method's.

    Raises:
        ProtocolError: what came is not the protocol. Calls that ran were cancelled.

    Cancellation: running methods are cancelled and nothing more is written, not even the rest of a frame.
    """
    running = Running()
    server = _Server(worker, _number(task), limit, in_process, running)
    running.on_cancel = server.cancel
    async with worker._around() if worker._around is not None else nullcontext():
        await server.run(None if control is None else _number(control))


def _number(channel: HasFileno | int) -> int:
    return channel if isinstance(channel, int) else channel.fileno()


class _Server:
    """The loop.

    Attributes:
        soon: calls a function in trio's thread, where that is not the one that hears the control channel.
    """

    def __init__(
        self,
        worker: Worker,
        fd: int,
        limit: int,
        in_process: bool,
        running: Running,
        buffers: Buffers | None = None,
    ) -> None:
        os.set_blocking(fd, False)
        self._worker = worker
        self._running = running
        self._scopes: dict[int, Stoppable] = {}
        self._fd = fd
        self._limit = limit
        self._inline = in_process or worker.concurrency == 1
        self._fatal: tuple[type[BaseException], ...] = (KeyboardInterrupt,) if in_process else ()
        self._decoder = MessageDecoder(limit)
        self._functions = Functions(buffers)
        self._seats = trio.Semaphore(worker.concurrency)
        self._threads = trio.CapacityLimiter(worker.concurrency)
        self._scope = trio.CancelScope()
        self._outbox: Outbox | None = None
        self._token = trio.lowlevel.current_trio_token()
        self.soon: Callable[[Callable[[], None]], object] = lambda fn: fn()
        self._thread = _thread.get_ident()
        running.tell = self._tell_from_any_thread
        running.write = self._say_from_any_thread
        running.may_block = not in_process
        running.soon = lambda fn: self.soon(fn)

    def from_any_thread(self, fn: Callable[[], None]) -> None:
        """Have a function called in trio's thread."""
        try:
            self._token.run_sync_soon(fn)
        except trio.RunFinishedError:
            return  # nobody is left whom it could matter to

    async def run(self, control: int | None = None) -> None:
        broken: ProtocolError | None = None
        with self._scope:
            async with trio.open_nursery() as ears:
                if control is not None:
                    ears.start_soon(self._hear, control)
                async with trio.open_nursery() as nursery:
                    # The parent closed its end, and wants no replies: that ends all.
                    self._outbox = Outbox(self._fd, nursery, self._scope.cancel)
                    try:
                        while await self._turn(nursery):
                            pass
                        self._decoder.close()
                    except ProtocolError as error:
                        # Raised outside the nursery, so that it comes bare.
                        broken = error
                        self._scope.cancel()
                ears.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _hear(self, fd: int) -> None:
        """Read the control channel; in a process of its own a thread does that."""
        os.set_blocking(fd, False)
        decoder = MessageDecoder()
        while data := await _read(fd):
            for message in decoder.feed(data):
                if type(message) is Notify:
                    self._running.hear(message)

    def cancel(self, msgid: int) -> None:
        """The caller has given this call up; one that has not begun finds out by itself."""
        scope = self._scopes.get(msgid)
        if scope is not None:
            scope.cancel()

    async def _turn(self, nursery: trio.Nursery) -> bool:
        """Take what one read brings; a frame of its own, so that nothing of it stays."""
        data = await _read(self._fd)
        messages = self._decoder.feed(data)
        messages.reverse()
        while messages:
            await self._take(messages.pop(), nursery)
        return bool(data) and self._decoder.error is None

    async def _take(self, message: Message, nursery: trio.Nursery) -> None:
        if type(message) is Notify:
            self._functions.hear(message)
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
        running = self._running
        running.begun = request.msgid
        if running.revoked and running.was_given_back(request.msgid):
            return
        try:
            frame = await self._answer(request)
        finally:
            running.settle(request.msgid)
            last = running.close_reports(request.msgid)
        if self._functions.uses:
            self._functions.settle()
        await self._write(last + frame if last else frame)

    async def _answer(self, request: Request) -> bytes:
        if request.msgid in self._running.cancelled:
            return cancelled(request.msgid, self._limit)
        if request.method == EXECUTE:
            inner = unwrap(request, self._running, self._limit)
            if isinstance(inner, bytes):
                return inner
            request = inner
        entered(self._running, request.msgid)
        _, context = self._running.circumstances(request.msgid)
        with Adopted(self._worker._context, context):
            return await self._run(request)

    async def _run(self, request: Request) -> bytes:
        method = self._worker._methods.get(request.method)
        is_async = method is not None and method.is_async
        if request.msgid in self._running.streams:
            return await self._stream(request, is_async)
        if is_async and not (method is not None and method.streams):
            return await self._call_async(request)
        if self._inline:
            return answer(self._worker, self._functions, request, self._limit, self._fatal)
        return await self._in_thread(answer, self._worker, self._functions, request, self._limit)

    async def _stream(self, request: Request, is_async: bool) -> bytes:
        msgid = request.msgid
        credit = self._running.streams[msgid]
        if not self._inline and not is_async:
            return await self._in_thread(
                stream, self._worker, request, credit, self._limit, self._write_from_thread
            )
        opened = open_items(self._worker, request, self._limit)
        if isinstance(opened, bytes):
            return opened
        return await stream_async(
            opened,
            msgid,
            credit,
            self._limit,
            seconds=self._left(msgid),
            write=self._write,
            fatal=self._fatal,
            running=self._scopes,
            soon=self.soon,
        )

    async def _in_thread(self, fn: Callable[..., bytes], *args: Any) -> bytes:
        # Abandoned only when the parent is gone or talks nonsense: the process ends, and the thread with it.
        return await trio.to_thread.run_sync(fn, *args, limiter=self._threads, abandon_on_cancel=True)

    async def _call_async(self, request: Request) -> bytes:
        msgid = request.msgid
        call, args, kwargs = method_call(self._worker, request.method, request.params)
        scope = trio.CancelScope(deadline=trio.current_time() + self._left(msgid))
        self._scopes[msgid] = scope
        try:
            with scope:
                value = await call.fn(*args, **kwargs)
                return success(call, msgid, value, self._limit)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as exc:
            if holds(exc, self._fatal):
                raise
            # A group may hold a Cancelled beside a failure. It is not lost: the next checkpoint raises it again,
            # before a byte is written.
            return failure(call, msgid, exc, self._limit)
        finally:
            self._scopes.pop(msgid, None)
        return cancelled(msgid, self._limit)

    def _left(self, msgid: int) -> float:
        """Seconds until the caller gives up."""
        deadline, _ = self._running.circumstances(msgid)
        return deadline - time.monotonic() if deadline < math.inf else math.inf

    def _tell_from_any_thread(self, reports: Reports) -> None:
        if _thread.get_ident() == self._thread:
            self._tell(reports)  # now: a method that runs inline lets no task run before it ends
        else:
            self.from_any_thread(partial(self._tell, reports))

    def _say_from_any_thread(self, frame: bytes) -> None:
        assert self._outbox is not None, "calls run between the beginning and the end of run()"
        say = partial(self._outbox.send_soon, frame)
        if _thread.get_ident() == self._thread:
            say()
        else:
            self.from_any_thread(say)

    def _tell(self, reports: Reports) -> None:
        """A report takes its place in the line at once: when its call was closed, there is none left to take."""
        if self._outbox is not None and (frame := reports.take()):
            self._outbox.send_soon(frame)

    async def _write(self, frame: bytes) -> None:
        assert self._outbox is not None, "calls run between the beginning and the end of run()"
        await self._outbox.send(frame)

    def _write_from_thread(self, frame: bytes) -> None:
        trio.from_thread.run(self._write, frame)


async def _read(fd: int) -> bytes:
    waited = False
    while True:
        try:
            data = os.read(fd, READ)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
            waited = True
        except ConnectionResetError:  # the parent closed its end with our replies unread in it
            return b""
        else:
            if not waited:
                await trio.lowlevel.checkpoint()  # a parent that never pauses must not starve the calls
            return data

"""The trio loop: several calls at once, each frame whole, no failure reaching another call."""

from __future__ import annotations

import contextvars
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import worker_jobs
from worker_child import Child, packed_call

from trio_folk._errors import ProtocolError
from trio_folk._wire import MessageDecoder, Notify, Response, encode_notify, encode_request, pack
from trio_folk.worker import Worker
from trio_folk.worker._async import serve

Clock = trio.testing.MockClock
BOUND = 30.0


class Line:
    """The parent's end of a served worker."""

    def __init__(self, sock: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        self.sock = sock
        self.scope = scope
        self.stopped = trio.Event()
        self._decoder = MessageDecoder()
        self._ready: list[Response] = []

    async def ask(self, msgid: int, method: str, params: Any = None) -> None:
        await self.send(encode_request(msgid, method, pack(params)))

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def reply(self) -> Response:
        while not self._ready:
            data = await self.sock.recv(65536)
            assert data, "the worker hung up"
            for message in self._decoder.feed(data):
                assert isinstance(message, Response)
                self._ready.append(message)
        return self._ready.pop(0)

    def hang_up(self) -> None:
        self.sock.shutdown(trio.socket.SHUT_WR)


@asynccontextmanager
async def served(worker: Worker, **options: Any) -> AsyncIterator[Line]:
    """A worker served in this process; fails if it does not stop at the end of file."""
    options.setdefault("in_process", True)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            line = Line(ours, trio.CancelScope())

            async def run() -> None:
                with line.scope:
                    await serve(worker, theirs, **options)
                theirs.close()
                line.stopped.set()

            nursery.start_soon(run)
            yield line
            ours.close()
            with trio.fail_after(BOUND):
                await line.stopped.wait()


def doors(worker: Worker) -> Callable[[str], trio.Event]:
    """Give a worker a method that waits until the test opens its door; tells which calls run."""
    events: dict[str, trio.Event] = {}

    def door(name: str) -> trio.Event:
        return events.setdefault(name, trio.Event())

    @worker.method
    async def enter(name: str) -> str:
        door(f"in {name}").set()
        await door(name).wait()
        return name

    return door


async def test_calls_run_at_once_and_are_answered_as_they_finish() -> None:
    """The second call overtakes the first."""
    worker = Worker(concurrency=2)
    door = doors(worker)
    async with served(worker) as line:
        await line.ask(1, "enter", ["a"])
        await line.ask(2, "enter", ["b"])
        await door("in a").wait()
        await door("in b").wait()
        door("b").set()
        assert await line.reply() == (2, None, "b")
        door("a").set()
        assert await line.reply() == (1, None, "a")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_no_more_calls_run_than_were_declared(concurrency: int) -> None:
    """Invariant 1: the next call starts when a seat is free, in order of arrival."""
    worker = Worker(concurrency)
    door = doors(worker)
    async with served(worker) as line:
        for msgid in range(4):
            await line.ask(msgid, "enter", [str(msgid)])
        for msgid in range(4):
            await trio.testing.wait_all_tasks_blocked()
            running = [n for n in range(4) if door(f"in {n}").is_set()]
            assert running == list(range(min(4, msgid + concurrency)))
            door(str(msgid)).set()
            assert (await line.reply()).msgid == msgid


async def test_worker_does_not_read_ahead_without_bound() -> None:
    """Invariant 1: a full worker leaves the rest in the socket, where the parent feels it."""
    worker = Worker(concurrency=2)
    door = doors(worker)
    sent = 0
    async with served(worker) as line:
        with trio.move_on_after(0.2):
            while True:
                await line.send(encode_request(1, "enter", pack(["x" * 1000])))
                sent += 1
        assert 0 < sent < 2000  # of endlessly many; a socket's buffer and one read hold some hundred
        line.scope.cancel()
        await line.stopped.wait()
        assert not door("x").is_set()


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_frames_larger_than_the_socket_are_never_mixed(concurrency: int) -> None:
    """Invariant 2: replies of several calls at once, each longer than the buffer."""
    worker = Worker(concurrency)

    @worker.method
    async def blob(letter: str) -> str:
        await trio.lowlevel.checkpoint()
        return letter * 1_000_000

    async with served(worker) as line:
        for msgid, letter in enumerate("abc"):
            await line.ask(msgid, "blob", [letter])
        await trio.testing.wait_all_tasks_blocked()
        replies = sorted([await line.reply() for _ in "abc"])
        assert [reply.result[:1] + reply.result[-1:] for reply in replies] == ["aa", "bb", "cc"]
        assert {len(reply.result) for reply in replies} == {1_000_000}


class Odd(BaseException):
    pass


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "Odd", "ExceptionGroup", "StopIteration"])
async def test_failure_of_a_method_reaches_only_its_caller(kind: str, concurrency: int) -> None:
    """Invariant 3: whatever is raised, the other call runs on."""
    worker = Worker(concurrency)
    door = doors(worker)

    @worker.method
    async def fail(kind: str) -> None:
        if kind == "ExceptionGroup":
            async with trio.open_nursery():
                raise ValueError("within")
        raise {
            "ValueError": ValueError,
            "SystemExit": SystemExit,
            "Odd": Odd,
            "StopIteration": StopIteration,
        }[kind]

    async with served(worker) as line:
        if concurrency == 2:
            await line.ask(1, "enter", ["a"])
            await door("in a").wait()
        await line.ask(2, "fail", [kind])
        reply = await line.reply()
        assert reply.msgid == 2
        assert reply.error["code"] == -32603
        if concurrency == 1:
            await line.ask(1, "enter", ["a"])
        door("a").set()
        assert await line.reply() == (1, None, "a")


async def test_async_error_shows_the_users_frames_only() -> None:
    """As in the other loop."""
    worker = Worker()

    @worker.method
    async def fail() -> None:
        raise LookupError("here")

    async with served(worker) as line:
        await line.ask(1, "fail")
        data = (await line.reply()).error["data"]
        assert data["type"] == "LookupError"
        assert "in fail" in data["traceback"].splitlines()[1]
        await line.ask(2, "fail", [1])
        assert (await line.reply()).error["code"] == -32602
        await line.ask(3, "fial")
        assert (await line.reply()).error["message"] == "method not found: fial; did you mean 'fail'?"


async def test_end_of_file_lets_running_calls_finish() -> None:
    """Invariant 4: their replies are written, then the loop returns."""
    worker = Worker(concurrency=2)
    door = doors(worker)
    async with served(worker) as line:
        await line.ask(1, "enter", ["a"])
        await line.ask(2, "enter", ["b"])
        line.hang_up()
        await door("in b").wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not line.stopped.is_set()
        door("a").set()
        door("b").set()
        assert sorted([await line.reply(), await line.reply()]) == [(1, None, "a"), (2, None, "b")]
        await line.stopped.wait()
        assert await line.sock.recv(1) == b""


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_cancelled_loop_cancels_its_methods_and_writes_nothing(concurrency: int) -> None:
    """Invariant 3: not even from a method that fails, or answers, while it is cancelled."""
    worker = Worker(concurrency)
    started = trio.Event()
    cancelled = []

    @worker.method
    async def stubborn(how: str) -> str:
        started.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.append(how)
                    if how == "raises":
                        raise ValueError("while it was cancelled")
        except BaseException:
            if how != "swallows":
                raise
        return "an answer that comes too late"

    for how in ("waits", "raises", "swallows"):
        async with served(worker) as line:
            await line.ask(1, "stubborn", [how])
            await started.wait()
            await trio.testing.wait_all_tasks_blocked()
            line.scope.cancel()
            await line.stopped.wait()
            assert await line.sock.recv(100) == b""
            assert cancelled[-1] == how


async def test_garbage_cancels_the_calls_and_is_raised_bare() -> None:
    """Whoever serves gets one ProtocolError, not a group."""
    worker = Worker(concurrency=2)
    door = doors(worker)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        await ours.send(encode_request(1, "enter", pack(["a"])) + b"\0\0\0\0")
        with pytest.raises(ProtocolError, match="length zero"):
            await serve(worker, theirs, in_process=True)
    assert not door("a").is_set()


async def test_parent_that_reads_no_replies_any_more_ends_the_loop_quietly() -> None:
    """Running calls are cancelled: nobody wants their answers."""
    worker = Worker(concurrency=2)
    door = doors(worker)
    async with served(worker) as line:
        await line.ask(1, "enter", ["a"])
        await line.ask(2, "enter", ["b"])
        await door("in b").wait()
        line.sock.close()
        door("a").set()
        await line.stopped.wait()


async def test_parent_that_leaves_replies_unread_ends_the_loop_quietly() -> None:
    """The kernel calls that a reset connection; it is an end of file."""
    async with served(Worker()) as line:
        await line.ask(1, "echo")
        await trio.lowlevel.wait_readable(line.sock)
        line.sock.close()
        await line.stopped.wait()


async def test_parent_that_never_pauses_does_not_starve_other_tasks() -> None:
    """Reads that need not wait let others run all the same."""
    worker = Worker()
    ticks = 0
    when: list[int] = []
    worker.method("now")(lambda: when.append(ticks))
    flood = encode_notify("nothing", b"x" * 1000) * 140  # three reads, and less than a socket's buffer
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        data = flood + encode_request(1, "now", pack(None))
        assert await ours.send(data) == len(data)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, worker, theirs)
            while not when:
                await trio.lowlevel.checkpoint()
                ticks += 1
            nursery.cancel_scope.cancel()
    assert when[0] >= 2


async def test_sleeping_methods_take_no_real_time_under_a_mock_clock(autojump_clock: Clock) -> None:
    """The loop has no clock of its own."""
    worker = Worker(concurrency=2)

    @worker.method
    async def nap(seconds: float) -> float:
        await trio.sleep(seconds)
        return trio.current_time()

    async with served(worker) as line:
        start = trio.current_time()
        await line.ask(1, "nap", [5000])
        await line.ask(2, "nap", [1000])
        assert [(await line.reply()).result - start for _ in "ab"] == [1000, 5000]


async def test_sync_methods_run_inline_in_process_and_in_threads_in_a_worker() -> None:
    """With the user's own event loop around, or with one call at a time, no thread is wanted."""

    def where(worker: Worker) -> Worker:
        worker.method("where")(lambda: threading.current_thread() is threading.main_thread())
        return worker

    for concurrency, in_process, inline in ((2, True, True), (1, False, True), (2, False, False)):
        async with served(where(Worker(concurrency)), in_process=in_process) as line:
            await line.ask(1, "where")
            assert await line.reply() == (1, None, inline)


async def test_ctrl_c_is_the_programs_own_where_the_worker_is_a_task() -> None:
    """In a process of its own it becomes a reply; here it must come out."""
    worker = Worker()

    @worker.method
    def interrupt() -> None:
        raise KeyboardInterrupt

    @worker.method
    async def interrupt_async() -> None:
        raise KeyboardInterrupt

    @worker.method
    async def interrupt_nursery() -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    for method in ("interrupt", "interrupt_async", "interrupt_nursery"):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with served(worker) as line:
                await line.ask(1, method)
                await trio.sleep(BOUND)
        assert caught.group_contains(KeyboardInterrupt)
        async with served(worker, in_process=False) as line:
            await line.ask(1, method)
            assert "KeyboardInterrupt" in (await line.reply()).error["data"]["traceback"]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_python_functions_run_in_this_loop_too(concurrency: int) -> None:
    """Defined before their call, in whatever thread it runs."""
    async with served(Worker(concurrency), in_process=False) as line:
        await line.send(encode_notify("folk.define", [4, pickle.dumps(worker_jobs.multiply)]))
        await line.ask(1, "folk.call", packed_call(4, 6, 7))
        reply = await line.reply()
        assert reply.error is None
        assert pickle.loads(reply.result) == 42


async def test_context_of_concurrent_calls_is_their_own() -> None:
    """A context variable set by one call is not seen by another."""
    worker = Worker(concurrency=2)
    variable = contextvars.ContextVar("variable", default="unset")

    @worker.method
    async def swap(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    async with served(worker) as line:
        for msgid in (1, 2):
            await line.ask(msgid, "swap", ["set"])
            assert await line.reply() == (msgid, None, "unset")


def test_child_with_async_methods_serves_several_calls_at_once() -> None:
    """In a real process: one call opens the door for another; threads for sync methods; its end is orderly."""
    with Child("worker_async_jobs:worker") as child:
        child.ready()
        assert child.announced["folk"]["concurrency"] == 3
        waiting = child.request("wait_for", ["x"])
        assert child.call("in_thread") is True
        assert child.error("fail")["data"]["type"] == "ExceptionGroup"
        child.request("open_door", ["x"])
        replies = {child.task.receive() for _ in range(2)}
        assert (waiting, None, "x") in replies
        child.hang_up()
        assert child.task.receive() is None
        assert child.end() == (0, "", "")


def test_garbage_ends_a_child_whose_threads_never_return() -> None:
    """A synchronous method in a thread cannot be stopped; the process ends over it."""
    with Child("worker_async_jobs:worker") as child:
        child.ready().request("spin")
        assert child.call("in_thread") is True
        child.task.send(b"\0\0\0\0")
        status, _, err = child.end()
        assert status == 1
        assert "length zero" in err


def test_notify_is_what_the_child_says_first() -> None:
    """Also with trio: ready comes before the loop begins."""
    with Child("worker_async_jobs:worker") as child:
        assert isinstance(child.control.receive(), Notify)

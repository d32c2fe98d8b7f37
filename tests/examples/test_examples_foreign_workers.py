"""The workers in PHP and JavaScript keep docs/protocol.md: spoken to over bare sockets, by no code of a pool."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from trio_folk._wire import (
    MAX_FRAME,
    Message,
    MessageDecoder,
    Notify,
    Response,
    encode_notify,
    encode_request,
    pack,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
BOUND = 30  # seconds; ten times what the slowest step takes on a loaded machine

Start = Callable[[], "Worker"]


def php() -> list[str]:
    """The command of the PHP worker; skips where PHP or its extension is missing."""
    program = shutil.which("php")
    if program is None:
        pytest.skip("PHP is missing: install the Debian packages php-cli and php-msgpack")
    if subprocess.run([program, "-r", 'exit((int) !extension_loaded("msgpack"));'], check=False).returncode:
        pytest.skip("PHP has no msgpack extension: install the Debian package php-msgpack")
    return [program, str(EXAMPLES / "php_worker" / "worker.php")]


def node() -> list[str]:
    """The command of the JavaScript worker; skips where Node is missing."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is missing: install the Debian package nodejs")
    return [program, str(EXAMPLES / "node_worker" / "worker.mjs")]


class Worker:
    """A worker's process and the parent's end of both its channels."""

    def __init__(self, process: subprocess.Popen[bytes], task: socket.socket, control: socket.socket) -> None:
        self.process = process
        self.task = task
        self.control = control
        self._decoder = MessageDecoder()
        self._replies: list[Message] = []

    def ready(self) -> Message:
        """The first message on the control channel."""
        return receive(self.control, MessageDecoder(), [])

    def reply(self) -> Response:
        """The next message on the task channel."""
        message = receive(self.task, self._decoder, self._replies)
        assert isinstance(message, Response)
        return message

    def call(self, method: str, params: object, msgid: int = 1) -> Response:
        """The reply to one request."""
        self.task.sendall(encode_request(msgid, method, pack(params)))
        return self.reply()


def receive(sock: socket.socket, decoder: MessageDecoder, waiting: list[Message]) -> Message:
    """The next message on a channel; those behind it stay in `waiting`."""
    while not waiting:
        data = sock.recv(65_536)
        assert data, "the worker closed the channel"
        waiting += decoder.feed(data)
    return waiting.pop(0)


@pytest.fixture(params=[php, node])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts workers of one language, which are ended with the test."""
    argv: list[str] = request.param()
    with ExitStack() as stack:

        def begin() -> Worker:
            (task, child_task), (control, child_control) = socket.socketpair(), socket.socketpair()
            for sock in (task, control, child_task, child_control):
                stack.callback(sock.close)
            task.settimeout(BOUND)
            control.settimeout(BOUND)
            fds = (child_task.fileno(), child_control.fileno())
            variables = {
                "FOLK_RUNTIME": "pipe",
                "FOLK_TASK_FD": str(fds[0]),
                "FOLK_CONTROL_FD": str(fds[1]),
            }
            process = subprocess.Popen(
                argv,
                pass_fds=fds,
                env=os.environ | variables,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
            stack.callback(process.wait, BOUND)
            stack.callback(process.kill)
            child_task.close()
            child_control.close()
            return Worker(process, task, control)

        yield begin


@pytest.fixture
def worker(start: Start) -> Worker:
    """A worker that said it is ready."""
    worker = start()
    message = worker.ready()
    assert message == Notify("control.ready", {"pid": worker.process.pid})
    return worker


def readable(value: Any) -> Any:
    """The value with its strings as bytes, for PHP has only one kind of string."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [readable(item) for item in value]
    if isinstance(value, dict):
        return {readable(key): readable(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [False, 0, 1, -1, 127, 128, -32, -33, 255, 256, 65_535, 65_536, -128, -129, -32_768, -32_769],
        [2**31 - 1, -(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**53, -(2**53), 2**63 - 1, -(2**63)],
        [1.5, -0.25, 1e300, 3.0],
        ["", "a" * 31, "b" * 32, "c" * 255, "d" * 256, "e" * 65_536],
        "naïve façade, 漢字, 🦊",
        [b"", b"\x00\xff\xfe", bytes(range(256)), b"x" * 70_000],
        b"caf\xe9".decode("utf-8", "surrogateescape"),
        [],
        [[1, [2, [3, [4, []]]]], {"deep": {"er": [{"est": "🦊"}]}}],
        list(range(70_000)),
        {f"key {n}": n for n in range(20)} | {"x": [None, {"y": b"\xff"}]},
        {5: "five", 7: {"seven": 7}},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_echo_gives_back_what_was_sent(worker: Worker, value: object) -> None:
    """Nested values, every width of integer, text, bytes, long and empty ones."""
    reply = worker.call("echo", value)
    assert reply.error is None
    assert readable(reply.result) == readable(value)


def test_sum_adds_numbers(worker: Worker) -> None:
    """An array of numbers, or a map that holds one."""
    assert worker.call("sum", [1, 2, 3.5]).result == 6.5
    assert worker.call("sum", {"numbers": [40, 2]}).result == 42


def test_word_count_counts_a_real_file(worker: Worker) -> None:
    """Its own README, counted by Python too."""
    path = EXAMPLES / "php_worker" / "README.md"
    expected = len(path.read_text(encoding="utf-8").split())
    assert expected > 100
    assert worker.call("word_count", {"path": str(path)}).result == expected


def test_sleep_answers_later(worker: Worker) -> None:
    """A number of seconds, or a map that holds it."""
    assert worker.call("sleep", 0.01) == Response(1, None, None)
    assert worker.call("sleep", {"seconds": 0.01}) == Response(1, None, None)


@pytest.mark.parametrize("method", ["shrink", "", "constructor", "__construct"])
def test_unknown_method_is_an_error_with_its_code(worker: Worker, method: str) -> None:
    """-32601, the method named, and the worker goes on."""
    reply = worker.call(method, None, msgid=2**32 - 1)
    assert reply.msgid == 2**32 - 1
    assert reply.result is None
    assert reply.error["code"] == -32601
    assert method in reply.error["message"]
    assert worker.call("echo", "still here").result == "still here"


def test_failing_method_is_an_error_with_type_and_traceback(worker: Worker) -> None:
    """-32603 with the exception's text, class and traceback, and the worker goes on."""
    reply = worker.call("fail", None)
    assert reply.result is None
    assert reply.error["code"] == -32603
    assert reply.error["message"] == "this method always fails"
    assert "Error" in reply.error["data"]["type"] or "Exception" in reply.error["data"]["type"]
    assert "worker." in reply.error["data"]["traceback"]
    assert worker.call("word_count", {"path": "/no/such/file"}).error["code"] == -32603
    assert worker.call("echo", "still here").result == "still here"


def test_frame_split_over_many_writes_is_read_whole(worker: Worker) -> None:
    """The worker reads until it has all of a frame, wherever the writes were cut."""
    frame = encode_request(7, "echo", pack("in crumbs"))
    for byte in frame:
        worker.task.sendall(bytes([byte]))
    assert worker.reply() == Response(7, None, "in crumbs")


def test_requests_back_to_back_are_answered_in_order(worker: Worker) -> None:
    """Two frames and a half in one write are two requests, and a third once its rest is there."""
    frames = [encode_request(n, "echo", pack(n)) for n in (1, 2, 3)]
    stream = b"".join(frames)
    worker.task.sendall(stream[:-3])
    assert [worker.reply(), worker.reply()] == [Response(1, None, 1), Response(2, None, 2)]
    worker.task.sendall(stream[-3:])
    assert worker.reply() == Response(3, None, 3)


def test_notification_is_not_answered(worker: Worker) -> None:
    """What comes next on the channel is the reply to the request behind it."""
    worker.task.sendall(encode_notify("folk.unheard-of", [1, 2]))
    assert worker.call("echo", "next", msgid=2) == Response(2, None, "next")


def test_frame_of_exactly_the_limit_is_answered(worker: Worker) -> None:
    """16 MiB of payload come through, and the reply, a little shorter, comes back."""
    head = len(encode_request(1, "echo", pack(b"x" * 2**16))) - 4 - 2**16
    value = b"x" * (MAX_FRAME - head)
    frame = encode_request(1, "echo", pack(value))
    assert len(frame) == 4 + MAX_FRAME
    worker.task.sendall(frame)
    assert readable(worker.reply().result) == value


def test_idle_worker_exits_at_the_end_of_its_task_channel(worker: Worker) -> None:
    """The parent closes first; the worker exits with status 0."""
    worker.call("echo", None)
    worker.task.shutdown(socket.SHUT_WR)
    assert worker.process.wait(BOUND) == 0


def test_busy_worker_answers_before_it_exits(worker: Worker) -> None:
    """Half closed while it works, it still writes its reply, then exits with status 0."""
    worker.task.sendall(encode_request(9, "sleep", pack(0.2)))
    worker.task.shutdown(socket.SHUT_WR)
    assert worker.reply() == Response(9, None, None)
    assert worker.process.wait(BOUND) == 0


@pytest.mark.parametrize(
    "bad",
    [
        bytes(4),
        (MAX_FRAME + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x09\x94",
        b"\x00\x00",
    ],
    ids=["zero", "too long", "garbage", "cut short", "cut in its length"],
)
def test_bad_frame_ends_the_worker_with_a_failure(start: Start, bad: bytes) -> None:
    """Behind a bad frame nothing means anything: the worker does not exit with 0."""
    worker = start()
    worker.ready()
    worker.task.sendall(bad)
    worker.task.shutdown(socket.SHUT_WR)
    assert worker.process.wait(BOUND) > 0


@pytest.mark.parametrize("start", [node], indirect=True)
def test_javascript_worker_ends_when_its_parent_is_gone(start: Start) -> None:
    """The end of the control channel means that nobody waits: busy or idle, it takes its group along."""
    worker = start()
    worker.ready()
    worker.task.sendall(encode_request(1, "sleep", pack(10 * BOUND)))
    worker.control.close()
    assert worker.process.wait(BOUND) == -signal.SIGKILL


def test_worker_without_channels_says_so(request: pytest.FixtureRequest, start: Start) -> None:
    """Started by hand it names the variable that is missing, and exits with 1."""
    argv = request.node.callspec.params["start"]()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FOLK_")}
    ended = subprocess.run(argv, env=environment, capture_output=True, timeout=BOUND, check=False)
    assert ended.returncode == 1
    assert b"FOLK_TASK_FD" in ended.stderr


@pytest.mark.parametrize("script", ["php_worker/worker.php", "node_worker/worker.mjs"])
def test_worker_is_under_sixty_lines(script: str) -> None:
    """Small enough to read before writing one's own."""
    assert len((EXAMPLES / script).read_text(encoding="utf-8").splitlines()) < 60

"""A real worker process over two socketpairs, spoken to with the wire alone."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from trio_folk._wire import MessageDecoder, Notify, Response, encode_notify, encode_request, pack

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BOUND = 30.0  # seconds for whatever is waited for; load may take ten times what it should


class Channel:
    """The parent's end of one channel, blocking, with a bound on every wait."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(BOUND)
        self.sock = sock
        self._decoder = MessageDecoder()
        self._messages: list[Any] = []

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> Any:
        """The next message, or None at the end of file."""
        while not self._messages:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._messages = self._decoder.feed(data)
        return self._messages.pop(0)


class Child:
    """``with Child("worker_jobs:worker") as child:`` starts a worker, and ends it whatever happens."""

    def __init__(
        self,
        target: str | list[str] | None = None,
        *,
        path: Iterable[Path | str] = (),
        env: Mapping[str, str | None] | None = None,
        keep: Iterable[int] = (),
    ) -> None:
        self.msgid = 0
        task, child_task = socket.socketpair()
        control, child_control = socket.socketpair()
        self.task, self.control = Channel(task), Channel(control)
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*path, HERE, ROOT])),
            "FOLK_TASK_FD": str(child_task.fileno()),
            "FOLK_CONTROL_FD": str(child_control.fileno()),
            **(env or {}),
        }
        arguments = [target] if isinstance(target, str) else target or []
        with child_task, child_control:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trio_folk.worker", *arguments],
                env={name: value for name, value in variables.items() if value is not None},
                pass_fds=[child_task.fileno(), child_control.fileno(), *keep],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                text=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.task.sock.close()
        self.control.sock.close()
        if self.process.returncode is None:
            # Not reaped yet, so its pid and group are still its own.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(BOUND)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def ready(self) -> Child:
        """Wait until it says that it is ready."""
        message = self.control.receive()
        assert isinstance(message, Notify), self.end()
        assert message.method == "control.ready", message
        self.announced = message.params
        return self

    def request(self, method: str, params: Any = None) -> int:
        """Send a call and return its msgid."""
        self.msgid += 1
        self.task.send(encode_request(self.msgid, method, pack(params)))
        return self.msgid

    def call(self, method: str, params: Any = None) -> Any:
        """The result of a call that must succeed."""
        response = self.response(method, params)
        assert response.error is None, response.error
        return response.result

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error of a call that must fail."""
        response = self.response(method, params)
        assert response.result is None
        assert isinstance(response.error, dict)
        return response.error

    def response(self, method: str, params: Any = None) -> Response:
        msgid = self.request(method, params)
        response = self.task.receive()
        assert isinstance(response, Response), self.end()
        assert response.msgid == msgid
        return response

    def define(self, number: int, fn: Callable[..., Any] | bytes) -> None:
        pickled = fn if isinstance(fn, bytes) else pickle.dumps(fn, 5)
        self.task.send(encode_notify("folk.define", [number, pickled]))

    def hang_up(self) -> None:
        """End of file on the task channel; replies can still be read."""
        self.task.sock.shutdown(socket.SHUT_WR)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, stdout, stderr."""
        out, err = self.process.communicate(timeout=BOUND)
        return self.process.returncode, out, err


def packed_call(fn: int | Callable[..., Any] | bytes, *args: Any, **kwargs: Any) -> list[Any]:
    """The params of ``folk.call``."""
    target = fn if isinstance(fn, int | bytes) else pickle.dumps(fn, 5)
    return [target, pickle.dumps((args, kwargs), 5)]

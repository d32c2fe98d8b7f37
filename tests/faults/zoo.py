"""The zoo: workers that misbehave, each in one way. Run as ``python zoo.py ANIMAL``.

They speak the wire by hand, so that no kindness of our own SDK covers up for them. Every animal answers
``echo`` properly until it does what its name says; what it does on which call is told by the method.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from trio_folk._wire import MessageDecoder, encode_notify, encode_response

TASK, CONTROL = 3, 4


def send(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def ready() -> None:
    send(CONTROL, encode_notify("control.ready", {"pid": os.getpid()}))


def answer(msgid: int, value: Any) -> None:
    send(TASK, encode_response(msgid, None, value))


def serve(handle: Callable[[int, str, Any], None]) -> None:
    decoder = MessageDecoder()
    while data := os.read(TASK, 65536):
        for request in decoder.feed(data):
            handle(*request)  # type: ignore[misc]


def hang() -> None:
    while True:
        time.sleep(3600)


# -- at boot


def never_ready() -> None:
    print("I shall never be ready", file=sys.stderr, flush=True)
    hang()


def dies_at_boot() -> None:
    print("cannot open the database", file=sys.stderr, flush=True)
    sys.exit(3)


def killed_at_boot() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ready_then_exits() -> None:
    ready()


def garbage_instead_of_ready() -> None:
    send(CONTROL, b"HTTP/1.1 200 OK\r\n\r\n")
    hang()


def request_instead_of_ready() -> None:
    send(CONTROL, encode_notify("control.fork-ready", {"pid": 1}))
    hang()


def absurd_concurrency() -> None:
    send(CONTROL, encode_notify("control.ready", {"pid": 1, "folk": {"v": 1, "concurrency": -1}}))
    hang()


def closes_control_at_boot() -> None:
    os.close(CONTROL)
    hang()


# -- at a call


def animal() -> None:
    """Answers echo; anything else is the name of a misdeed."""
    ready()

    def handle(msgid: int, method: str, params: Any) -> None:
        if method == "echo":
            answer(msgid, params)
        else:
            MISDEEDS[method](msgid, params)

    serve(handle)


def garbage(msgid: int, _: Any) -> None:
    send(TASK, os.urandom(3) + b"\xff" * 64)


def not_msgpack(msgid: int, _: Any) -> None:
    send(TASK, struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1")


def oversize(msgid: int, _: Any) -> None:
    send(TASK, struct.pack(">I", 16 * 1024 * 1024 + 1))
    hang()


def zero_length(msgid: int, _: Any) -> None:
    send(TASK, struct.pack(">I", 0))


def truncated(msgid: int, _: Any) -> None:
    send(TASK, encode_response(msgid, None, "whole")[:-2])
    sys.exit(0)


def wrong_msgid(msgid: int, _: Any) -> None:
    answer(msgid + 1000, "for somebody else")


def request_as_reply(msgid: int, _: Any) -> None:
    send(TASK, struct.pack(">I", 5) + b"\x94\x00\x01\xa0\xc0")


def answers_twice(msgid: int, params: Any) -> None:
    reply = encode_response(msgid, None, "first")
    send(TASK, reply + encode_response(msgid, None, "second"))


def answers_twice_later(msgid: int, params: Any) -> None:
    answer(msgid, "first")
    time.sleep(0.05)
    answer(msgid, "second")


def answers_late(msgid: int, seconds: float) -> None:
    time.sleep(seconds)
    answer(msgid, "late, and for the one who asked only")


def sleeps(msgid: int, seconds: float) -> None:
    time.sleep(seconds)
    answer(msgid, seconds)


def exits(msgid: int, status: int) -> None:
    print("going, and this is why", file=sys.stderr, flush=True)
    os._exit(status)


def kills_itself(msgid: int, sig: int) -> None:
    os.kill(os.getpid(), sig)
    hang()


def closes_task(msgid: int, _: Any) -> None:
    answer(msgid, "closing 3")
    os.close(TASK)
    hang()


def closes_task_unanswered(msgid: int, _: Any) -> None:
    os.close(TASK)
    hang()


def closes_control(msgid: int, _: Any) -> None:
    answer(msgid, "closing 4")
    os.close(CONTROL)


def ignores_sigterm(msgid: int, _: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answer(msgid, os.getpid())


def floods_stdout(msgid: int, mib: int) -> None:
    line = b"x" * 1023 + b"\n"
    block = line * 1024
    for _ in range(mib):
        send(1, block)
    answer(msgid, mib)


def forks_a_holder(msgid: int, seconds: float) -> None:
    """A grandchild in a session of its own keeps every descriptor of the worker; then the worker dies."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(seconds)
        os._exit(0)
    os._exit(7)


def has_a_child(msgid: int, _: Any) -> None:
    child = os.fork()
    if child == 0:
        hang()
    answer(msgid, child)


MISDEEDS: dict[str, Callable[[int, Any], None]] = {
    each.__name__: each
    for each in (
        garbage, not_msgpack, oversize, zero_length, truncated, wrong_msgid, request_as_reply, answers_twice,
        answers_twice_later, answers_late, sleeps, exits, kills_itself, closes_task, closes_task_unanswered,
        closes_control, ignores_sigterm, floods_stdout, forks_a_holder, has_a_child,
    )
}  # fmt: skip

ANIMALS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        never_ready, dies_at_boot, killed_at_boot, ready_then_exits, garbage_instead_of_ready,
        request_instead_of_ready, absurd_concurrency, closes_control_at_boot, animal,
    )
}  # fmt: skip

if __name__ == "__main__":
    ANIMALS[sys.argv[1]]()

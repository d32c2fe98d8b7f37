"""A fork master that behaves as it is told to: ``MASTER`` in its environment. It is launched as if it were PHP's."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

from trio_folk._wire import MessageDecoder, encode_notify

channel = socket.socket(fileno=int(os.environ["FOLK_TASK_FD"]))
control = socket.socket(fileno=int(os.environ["FOLK_CONTROL_FD"]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
how = os.environ["MASTER"]


def tell(what: str, params: object) -> None:
    control.sendall(encode_notify(what, params))


def be_a_worker(given: list[int]) -> None:
    """A worker of the base protocol that answers nothing, and ends as it should."""
    tell_ready = socket.socket(fileno=given[1])
    tell_ready.sendall(encode_notify("control.ready", {"pid": os.getpid()}))
    task = socket.socket(fileno=given[0])
    control.close()
    channel.close()
    while task.recv(4096):
        pass
    os._exit(0)


if how == "mute":
    time.sleep(3600)
tell("control.ready" if how == "a worker" else "control.fork-ready", {"pid": os.getpid()})
while data := control.recv(4096):
    for _ in MessageDecoder().feed(data):
        given = socket.recv_fds(channel, 1, 4)[1]
        if how == "silent":
            continue
        if how == "stranger":
            tell("fork.spawned", {"pid": os.getppid()})
            continue
        if how == "nonsense":
            tell("fork.spawned", {"pid": "me"})
            continue
        if how == "one by one" and select.select([control, channel], [], [], 0.2)[0]:
            sys.exit("a second request came before the answer to the first")
        pid = os.fork()
        if not pid:
            be_a_worker(given)
        for descriptor in given:
            os.close(descriptor)
        tell("fork.spawned", {"pid": pid})
        if how == "twice":
            tell("fork.spawned", {"pid": pid})
sys.exit()

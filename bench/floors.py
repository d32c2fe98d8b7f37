"""The floors: what a round trip costs with nothing around it, in the same Python and the same trio.

A call that takes 30 us says little; a call that takes 1.3 times the bare RPC says how much of it is ours.
Both floors try the system call first and wait only when it says EAGAIN, as a hot path should.

Knows one socketpair and one child. Does not know pools: no second caller, no cancellation, no death.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgpack
import trio

from bench.interface import Call, Peer

_CHILD = Path(__file__).with_name("floor_child.py")
_CHUNK = 65536
_ENDING = 5  # seconds between the end of file and SIGKILL


class _Floor(Peer):
    measures = frozenset({"calls"})
    mode: ClassVar[str]

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """One child, whatever the number of workers."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                command = [sys.executable, str(_CHILD), self.mode, str(theirs.fileno())]
                child = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # noqa: ASYNC220
            try:
                ours.setblocking(False)
                yield self.caller(ours)
            finally:
                ours.close()
                _end(child)

    @abstractmethod
    def caller(self, sock: socket.socket) -> Call:
        """The echo over this socket; the function it is asked to run is ignored."""


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_ENDING)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
        else:
            if not data:
                raise EOFError("the child of the floor is gone")
            return data


class PingPong(_Floor):
    """The bytes there and back, without a frame or a message."""

    name = "bare ping-pong"
    mode = "pingpong"

    def caller(self, sock: socket.socket) -> Call:
        """Send the payload, receive as many bytes."""

        async def call(fn: Callable[..., object], payload: bytes) -> bytes:
            await _send(sock, payload)
            answer = await _receive(sock)
            while len(answer) < len(payload):
                answer += await _receive(sock)
            return answer

        return call


class BareRpc(_Floor):
    """MessagePack-RPC in length-prefixed frames: the wire of trio_folk, and nothing else of it."""

    name = "bare RPC"
    mode = "rpc"

    def caller(self, sock: socket.socket) -> Call:
        """Send a request, receive its response."""
        length = struct.Struct(">I")
        pack, unpack = msgpack.Packer().pack, msgpack.unpackb
        msgid = 0

        async def call(fn: Callable[..., object], payload: bytes) -> object:
            nonlocal msgid
            msgid += 1
            body = pack([0, msgid, "echo", payload])
            await _send(sock, length.pack(len(body)) + body)
            frame = await _receive(sock)
            while len(frame) < 4 or len(frame) < 4 + length.unpack_from(frame)[0]:
                frame += await _receive(sock)
            _, answered, error, result = unpack(memoryview(frame)[4:])
            if answered != msgid or error is not None:
                raise RuntimeError(f"the floor answered {answered} with {error!r} to {msgid}")
            return result

        return call

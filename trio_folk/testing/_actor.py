"""The actor: plays one script over a worker's end of the two sockets.

Knows the wire from the worker's side. Does not know runtimes, pools or ladders.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import attrs
import trio

from .._wire import MessageDecoder, Notify, Request, encode_notify, encode_response
from ..abc import Rung, WorkerExit
from ..runtimes._sockets import Sockets
from ..worker import Worker
from ..worker._dispatch import CALL, answer
from ..worker._failures import METHOD_FAILED, Refused, error_map
from ..worker._python import DEFINE, Functions
from ._script import Fault, Script

__all__ = ["Actor", "FaultyCall"]

_RECEIVE = 65536  # bytes
_NOT_MESSAGEPACK = struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1"  # a byte that MessagePack never uses
_NOBODY = 0x7FFF_FFFF  # a msgid that no test comes to


@attrs.frozen
class FaultyCall:
    """A call as it reached a worker.

    Attributes:
        worker: the worker's id, e.g. ``pool/0.1``.
        number: the how many-th it was for this worker, from 1.
        method: the method's name, or the function's.
        params: the method's parameters, or the function's positional arguments.
    """

    worker: str
    number: int
    method: str
    params: Any


class Actor:
    """One scripted worker, from its boot to its end."""

    def __init__(
        self, worker: str, script: Script, sockets: Sockets, limit: int, calls: list[FaultyCall]
    ) -> None:
        self._worker = worker
        self._script = script
        self._limit = limit
        self._calls = calls
        self._number = 0
        self._control = sockets.child_control
        self._sock = trio.socket.from_stdlib_socket(sockets.child_task)
        self._task = trio.SocketStream(self._sock)
        self._writing = trio.Lock()
        self._functions = Functions()
        self._life = trio.CancelScope()
        self._how = WorkerExit(code=0)

    async def play(self) -> WorkerExit:
        """Return when the worker has ended, and how."""
        with self._life:
            await trio.sleep(self._script.boot_delay)
            await self._boot()
            await self._serve()
        return self._how

    async def _boot(self) -> None:
        """Return when it is ready; otherwise never."""
        match self._script.boot:
            case "ready":
                folk = {"v": 1, "features": ["python"], "concurrency": self._script.concurrency}
                self._say("control.ready", {"pid": 0, "folk": folk})
                return
            case "dies":
                await self._die(self._script.boot_exit)
            case "refuses":
                told = {"type": "Script", "message": "the script says that it cannot serve", "traceback": ""}
                self._say("folk.failed", told)
                await self._die(WorkerExit(code=1))
            case "garbage":
                self._control.sendall(_NOT_MESSAGEPACK)
            case "closes_control":
                self._control.close()
        await trio.sleep_forever()

    def _say(self, method: str, params: object) -> None:
        self._control.sendall(encode_notify(method, params))

    async def _serve(self) -> None:
        async with trio.open_nursery() as life:
            for seconds, fault in self._script.after_ready.items():
                life.start_soon(self._misbehave_later, seconds, fault)
            async with trio.open_nursery() as calls:
                await self._read(calls)
            if Rung.STOP in self._script.ignores:
                await trio.sleep_forever()
            life.cancel_scope.cancel()

    async def _read(self, calls: trio.Nursery) -> None:
        """Take calls until the end of file."""
        decoder = MessageDecoder(self._limit)
        try:
            while True:
                await self._maybe_die_unread()
                data = await self._task.receive_some(_RECEIVE)
                if not data:
                    return
                for message in decoder.feed(data):
                    if isinstance(message, Request):
                        self._take(message, calls)
                    elif isinstance(message, Notify) and message.method == DEFINE:
                        self._functions.define(message.params)
        except trio.BrokenResourceError:
            return  # the parent closed its end with answers unread in it
        except trio.ClosedResourceError:
            await trio.sleep_forever()  # it closed the channel itself, and lives on

    async def _maybe_die_unread(self) -> None:
        fault = self._script.at_call.get(self._number + 1)
        if fault is not None and fault.unread and await self._sock.recv(1, socket.MSG_PEEK):
            await self._die(fault.how)

    def _take(self, request: Request, calls: trio.Nursery) -> None:
        self._number += 1
        method, params = request.method, request.params
        if method == CALL:
            try:
                call, args, _ = self._functions.call(params)
            except Refused:
                pass  # it is recorded as it came, and the answer says what is wrong with it
            else:
                method, params = call.name, args
        self._calls.append(FaultyCall(self._worker, self._number, method, params))
        calls.start_soon(self._call, request, self._script.at_call.get(self._number))

    async def _call(self, request: Request, fault: Fault | None) -> None:
        if fault is None:
            await self._send(await self._answer(request))
            return
        match fault.kind:
            case "hangs":
                await trio.sleep_forever()
            case "fails":
                error = error_map(METHOD_FAILED, "the script says that this call fails")
                await self._send(encode_response(request.msgid, error, None, self._limit))
            case "answers_late":
                await trio.sleep(fault.seconds)
                await self._send(await self._answer(request))
            case "answers_twice":
                await self._answer_twice(request, fault.seconds)
            case "wrong_msgid":
                await self._send(await self._answer(request._replace(msgid=_NOBODY)))
            case "truncates":
                frame = await self._answer(request)
                await self._send(frame[: len(frame) // 2])
                await self._die(fault.how)
            case _:
                await self._misbehave(fault)
                if fault.kind == "closes_control":
                    await self._send(await self._answer(request))

    async def _answer_twice(self, request: Request, seconds: float) -> None:
        frame = await self._answer(request)
        if seconds:
            await self._send(frame)
            await trio.sleep(seconds)
            await self._send(frame)
        else:
            await self._send(frame + frame)

    async def _misbehave_later(self, seconds: float, fault: Fault) -> None:
        await trio.sleep(seconds)
        await self._misbehave(fault)

    async def _misbehave(self, fault: Fault) -> None:
        match fault.kind:
            case "dies":
                await self._die(fault.how)
            case "garbage":
                await self._send(_NOT_MESSAGEPACK)
            case "oversize":
                await self._send(struct.pack(">I", self._limit + 1))
            case "closes_task":
                self._sock.close()
            case "closes_control":
                self._control.close()

    async def _die(self, how: WorkerExit) -> None:
        self._how = how
        self._life.cancel()
        await trio.lowlevel.checkpoint()

    async def _answer(self, request: Request) -> bytes:
        """The frame of the answer that a worker without fault would give."""
        if request.method == CALL:
            return answer(Worker(), self._functions, request, self._limit, (KeyboardInterrupt,))
        params = request.params
        if request.method == "sleep":
            held = params["seconds"] if isinstance(params, dict) else params
            await trio.sleep(held[0] if isinstance(held, list) else held)
        return encode_response(request.msgid, None, params, self._limit)

    async def _send(self, frames: bytes) -> None:
        async with self._writing:
            try:
                await self._task.send_all(frames)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # nobody reads any more, or it closed the channel itself

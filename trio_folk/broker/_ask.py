"""Asking a backend about itself: one question on its control endpoint, one answer.

Knows frames and the questions. Does not know who asks why.
"""

from __future__ import annotations

import math
import os
from typing import Any

import attrs
import trio

from .._errors import ApplicationError, BackendRefused, ProtocolError
from .._wire import MessageDecoder, Response, encode_request, pack
from ._dial import Unreachable, dial
from ._record import Record, State

__all__ = ["CONTROL_FRAME", "PROBE_WAIT", "SHUTTING_DOWN", "UNSUPPORTED", "Probe", "ask", "probe"]

PROBE_WAIT = 0.5
"""Seconds that a backend has to answer a probe."""
NONCE = 32
"""Bytes that come back in the answer to a probe, and in no other."""
CONTROL_FRAME = 64 * 1024
"""The longest payload on a control connection."""
SHUTTING_DOWN = -32001
UNSUPPORTED = -32601


@attrs.frozen(kw_only=True)
class Probe:
    """What a backend said of itself.

    Attributes:
        pid, service, version, endpoint: who it is.
        state: how far it is.
        connections: how many are open.
        accepted: how many there were.
        pressed: how often it had no descriptor left for one.
        uptime: seconds since its `serve` began.
        idle_timeout: seconds without a connection after which it ends.
    """

    pid: int
    service: str
    version: str
    endpoint: str
    state: State
    connections: int
    accepted: int
    pressed: int
    uptime: float
    idle_timeout: float


async def ask(control: str, method: str, params: dict[str, Any] | None = None, *, timeout: float) -> Any:
    """The answer to a question.

    Raises:
        Unreachable: nobody is there, or it ended before it answered.
        trio.TooSlowError: it has not answered in time.
        BackendRefused: it is shutting down.
        ApplicationError: it cannot.

    Always a checkpoint. Cancellation: the question may have been heard.
    """
    with trio.fail_after(timeout):
        stream = await dial(control)
        async with stream:
            try:
                await stream.send_all(encode_request(1, method, pack(params or {}), CONTROL_FRAME))
                answer = await _answer(stream)
            except (trio.BrokenResourceError, ProtocolError) as error:
                raise Unreachable(control) from error
    if answer.error is None:
        return answer.result
    match answer.error:
        case {"code": int(code), "message": str(message), **rest}:
            if code == SHUTTING_DOWN:
                raise BackendRefused(message, "shutting down")
            raise ApplicationError(code, message, rest.get("data"))
        case other:
            raise ApplicationError(0, f"an answer that makes no sense: {other!r:.100}")


async def _answer(stream: trio.SocketStream) -> Response:
    decoder = MessageDecoder(CONTROL_FRAME)
    while data := await stream.receive_some():
        for message in decoder.feed(data):
            if isinstance(message, Response) and message.msgid == 1:
                return message
    raise ProtocolError("the connection ended before the answer")


async def probe(record: Record, *, timeout: float = PROBE_WAIT) -> Probe | None:
    """What the backend of this record says of itself, or None if nobody answers who is that backend.

    Always a checkpoint. Cancellation leaves nothing behind.
    """
    nonce = os.urandom(NONCE)
    try:
        told = await ask(record.control, "broker.probe", {"nonce": nonce}, timeout=timeout)
    except (Unreachable, trio.TooSlowError, BackendRefused, ApplicationError):
        return None
    who = (record.pid, record.started, record.boot)
    match told:
        case {"nonce": bytes(back), "pid": pid, "started": started, "boot": boot}:
            return _probe(told) if back == nonce and (pid, started, boot) == who else None
    return None


def _probe(told: dict[str, Any]) -> Probe | None:
    names = [field.name for field in attrs.fields(Probe)]
    try:
        known = {name: told[name] for name in names}
        known["state"] = State(known["state"])
        idle = known["idle_timeout"]
        known["idle_timeout"] = math.inf if idle is None else float(idle)
        return Probe(**known)
    except (KeyError, ValueError, TypeError):
        return None

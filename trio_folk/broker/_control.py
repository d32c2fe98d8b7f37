"""The control endpoint: what a daemon answers about itself, beside the endpoint where its own protocol is spoken.

The endpoint belongs to the backend, byte for byte: nothing of ours can be said on it. So each daemon has a second
one. Whoever can connect there is this user, and may ask for anything.

    broker.probe {nonce}     who it is, and the nonce
    broker.wait {state}      answered when that state is reached
    broker.quiesce {reason}  answered when it has come to rest
    broker.release {prefix}  answered when nothing below that path is open
    broker.mend {}           answered when its files are there again; for the holder of the spawn lock
    broker.retire {reason}   answered when the endpoint is free; for the holder of the spawn lock
    broker.shutdown {reason} answered when the endpoint is free; ends within its time for draining

Knows questions. Does not know how the daemon does what they ask.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any, Protocol

import trio

from .._errors import ProtocolError
from .._wire import MessageDecoder, Request, encode_response
from ._ask import CONTROL_FRAME, SHUTTING_DOWN, UNSUPPORTED
from ._peer import peer_uid
from ._record import State

__all__ = ["Answers", "Leaving", "serve_control"]

READ_TIMEOUT = 30.0
"""Seconds without a question after which a control connection is closed."""
ANSWER_TIMEOUT = 60.0
"""Seconds that an answer may take; then the connection is closed instead."""
FAILED = -32603
INVALID = -32602

_log = logging.getLogger("trio_folk.broker")


class Leaving(Exception):
    """What was asked for does not happen any more: the daemon is ending."""


class Answers(Protocol):
    """What the daemon does to answer."""

    def about(self) -> dict[str, Any]:
        """Who it is."""
        ...

    async def reached(self, state: State) -> None:
        """Return when the state is reached; `Leaving` if it will not be."""
        ...

    async def quiesce(self, reason: str) -> None:
        """Come to rest."""
        ...

    async def release(self, prefix: str) -> None:
        """Close what is open below this path."""
        ...

    def mend(self) -> None:
        """Put back what somebody removed."""
        ...

    async def retire(self, reason: str, within: float | None) -> None:
        """Close the doors and begin to end, within this time or, if None, that for draining."""
        ...


async def serve_control(daemon: Answers, listener: trio.SocketListener) -> None:
    """Answer on this listener. Cancellation: connections are closed."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                if peer_uid(stream.socket) in (os.geteuid(), 0):
                    await _converse(daemon, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as error:
            _log.debug("a control connection ended: %s", error)

    await trio.serve_listeners(handle, [listener])


async def _converse(daemon: Answers, stream: trio.SocketStream) -> None:
    decoder = MessageDecoder(CONTROL_FRAME)
    while True:
        data = b""
        with trio.move_on_after(READ_TIMEOUT):
            data = bytes(await stream.receive_some())
        if not data:
            return
        for message in decoder.feed(data):
            if isinstance(message, Request):
                error, result = None, None
                with trio.move_on_after(ANSWER_TIMEOUT) as patience:
                    error, result = await _answer(daemon, message.method, message.params)
                if patience.cancelled_caught:
                    return
                await stream.send_all(encode_response(message.msgid, error, result, CONTROL_FRAME))


async def _answer(daemon: Answers, method: str, params: Any) -> tuple[dict[str, Any] | None, Any]:
    told = params if isinstance(params, dict) else {}
    try:
        return None, await _do(daemon, method, told)
    except NotImplementedError:
        return _error(UNSUPPORTED, f"this backend does not support {method}"), None
    except Leaving as error:
        return _error(SHUTTING_DOWN, str(error)), None
    except (KeyError, ValueError) as error:
        return _error(INVALID, f"{method}: {error!r}"), None
    except Exception as error:
        _log.exception("%s failed", method)
        return _error(FAILED, f"{type(error).__name__}: {error}"), None


async def _do(daemon: Answers, method: str, told: Mapping[str, Any]) -> Any:
    match method:
        case "broker.probe":
            return {**daemon.about(), "nonce": told.get("nonce")}
        case "broker.wait":
            await daemon.reached(State(told["state"]))
        case "broker.quiesce":
            await daemon.quiesce(str(told["reason"]))
        case "broker.release":
            await daemon.release(str(told["prefix"]))
        case "broker.mend":
            daemon.mend()
        case "broker.retire":
            await daemon.retire(str(told["reason"]), math.inf)
        case "broker.shutdown":
            await daemon.retire(str(told["reason"]), None)
        case _:
            raise NotImplementedError
    return None


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}

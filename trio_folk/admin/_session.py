"""One client of an admin socket: its requests, their answers, and what it has subscribed to.

Whoever can connect is this user, and may still be a script gone wrong, or stopped in a debugger.

Invariants
    1. Nothing is kept for a client but one unfinished frame, `WINDOW` requests, and the buffers of its subscriptions.
    2. A client that is silent, slow to send or slow to read is dropped within `IDLE_TIMEOUT` or `SEND_TIMEOUT`.
    3. What a client asked for ends with its connection: a reload stops where it is.
    4. Frames are written whole, one after another.

Knows a desk and a stream. Does not know how the client came in.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import trio

from .._errors import ApplicationError, ProtocolError
from .._wire import MessageDecoder, Notify, Request, encode_notify, encode_response
from ..broker._shared_terms import describe
from ._desk import Counter, Desk, NoSuchMethod, check_params
from ._pace import Reader
from ._plain import plain
from ._terms import (
    ANSWER_FRAME,
    END,
    EVENT,
    EVENTS,
    IDLE_TIMEOUT,
    INVALID,
    REQUEST_FRAME,
    SAMPLE,
    SEND_TIMEOUT,
    UNKNOWN,
    WATCH,
    WINDOW,
)

__all__ = ["Session"]

EVENT_BUFFER = 1024
"""Events that wait for a slow client; what no longer fits is counted."""
INTERVAL = 1.0
"""Seconds between two samples, unless a client says otherwise."""
_INTERVALS = (0.1, 3600.0)

_log = logging.getLogger("trio_folk.admin")


class _Dropped(Exception):
    """The client does not read, or is silent."""


class Session:
    """One connection, until its client goes or is dropped."""

    def __init__(self, desk: Desk, stream: trio.abc.Stream) -> None:
        self._desk = desk
        self._stream = stream
        self._open = 0
        self._writing = trio.Lock()
        self._patience = trio.CancelScope()

    async def run(self) -> None:
        """Serve it. Cancellation: what it asked for is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await self._read(nursery)
                nursery.cancel_scope.cancel()  # invariant 3
        except* (ProtocolError, _Dropped, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            _log.debug("an admin client was dropped: %s", group.exceptions[0])

    async def _read(self, nursery: trio.Nursery) -> None:
        decoder = MessageDecoder(REQUEST_FRAME)
        self._wait_for_request()
        with self._patience:
            while data := await self._stream.receive_some():
                for message in decoder.feed(data):
                    self._take(message, nursery)
                if decoder.error is not None:
                    raise decoder.error

    def _wait_for_request(self) -> None:
        """From now on the client has so much time, while nothing of it is open."""
        self._patience.deadline = math.inf if self._open else trio.current_time() + IDLE_TIMEOUT

    def _take(self, message: object, nursery: trio.Nursery) -> None:
        if isinstance(message, Notify):
            return  # nothing that it could tell us is of use, and nothing is said to it
        if not isinstance(message, Request):
            raise ProtocolError("an admin client answered, and was not asked")
        if self._open >= WINDOW:
            raise ProtocolError(f"an admin client has more than {WINDOW} requests open")
        self._open += 1
        self._wait_for_request()
        nursery.start_soon(self._serve, message)

    async def _serve(self, request: Request) -> None:
        try:
            if request.method in (EVENTS, WATCH):
                await self._subscribe(request)
            else:
                await self._send(await self._outcome(request))
        finally:
            self._open -= 1
            self._wait_for_request()

    async def _outcome(self, request: Request) -> bytes:
        try:
            result = await self._desk.answer(request.method, request.params)
            return encode_response(request.msgid, None, result, ANSWER_FRAME)
        except Exception as error:
            return _refusal(request, error)

    # -- subscriptions: they end with their pools, or with the client

    async def _subscribe(self, request: Request) -> None:
        try:
            told = check_params(request.method, request.params)
            counters = self._desk.counters_for(told)
            flow = self._flow(request.method, told)
        except Exception as error:
            await self._send(_refusal(request, error))
            return
        await self._send(encode_response(request.msgid, None, {}, ANSWER_FRAME))
        async with trio.open_nursery() as nursery:
            for counter in counters:
                nursery.start_soon(flow, counter)

    def _flow(self, method: str, told: dict[str, Any]) -> Callable[[Counter], Coroutine[Any, Any, None]]:
        if method == EVENTS:
            return self._tell_events
        interval = told.get("interval", INTERVAL)
        least, most = _INTERVALS
        if (
            isinstance(interval, bool)
            or not isinstance(interval, int | float)
            or not least <= interval <= most
        ):
            raise ValueError(f"interval is from {least:g} to {most:g} seconds, not {interval!r:.100}")

        return partial(self._tell_samples, interval)

    async def _tell_samples(self, interval: float, counter: Counter) -> None:
        """The pool every so often, with its pace since the last time; the first at once, and without."""
        reader = Reader(counter.pulse.mark())
        with counter.pulse.watched():
            while not counter.lookout.over.is_set():
                sample = counter.lookout.record() | reader.read(counter.pulse.mark())
                await self._send(encode_notify(SAMPLE, sample, ANSWER_FRAME))
                with trio.move_on_after(interval):
                    await counter.lookout.over.wait()
        await self._end(counter)

    async def _tell_events(self, counter: Counter) -> None:
        with counter.pool.events(buffer=EVENT_BUFFER) as events:
            async for event in events:
                told = plain(event) | {"pool": counter.pool.name, "dropped": events.dropped}
                await self._send(encode_notify(EVENT, told, ANSWER_FRAME))
        await self._end(counter)

    async def _end(self, counter: Counter) -> None:
        await self._send(encode_notify(END, {"pool": counter.pool.name}, ANSWER_FRAME))

    async def _send(self, frame: bytes) -> None:
        async with self._writing:
            with trio.move_on_after(SEND_TIMEOUT):
                await self._stream.send_all(frame)
                return
        raise _Dropped(f"it has not read a frame within {SEND_TIMEOUT:g} s")


def _refusal(request: Request, error: Exception) -> bytes:
    told = describe(error)
    if isinstance(error, NoSuchMethod):
        told["code"] = UNKNOWN
    elif isinstance(error, TypeError | ValueError) and not isinstance(error, ApplicationError):
        told["code"] = INVALID
    else:
        _log.info("%s failed: %s", request.method, error)
    return encode_response(request.msgid, told, None, ANSWER_FRAME)

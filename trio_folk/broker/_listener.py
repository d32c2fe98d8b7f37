"""The listener that a backend serves: it accepts for it, counts what is open, and can close its door losing nobody.

Whoever accepts must know when nobody is left, must not spin when descriptors run out, and must not lose those who
have connected and were not yet accepted. So backends do not accept themselves.

Invariants
    1. Every connection whose connect(2) succeeded is accepted, or was this daemon's last (its death).
    2. A connection counts from when it was accepted until it is closed.
    3. After `close_door` has returned nobody can connect through that door any more.
    4. Another user's connection is closed unheard.

Knows listening sockets. Does not know paths, locks or states.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn, final

import attrs
import trio

from ._peer import peer_uid

__all__ = ["BackendConnection", "BackendListener"]

PRESSURE_PAUSE = 0.05
"""Seconds between two attempts to accept while there are no descriptors left."""
RECOVERED = 3
"""Connections accepted in a row after which the pressure is over."""

_PRESSURE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GONE_ALREADY = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO)
_log = logging.getLogger("trio_folk.broker")


@attrs.define(eq=False)
class _Door:
    """A listening socket; shut: nobody comes in any more; emptied: who was in is with the backend."""

    shut: bool = False
    emptied: trio.Event = attrs.field(factory=trio.Event)


@final
class BackendConnection(trio.abc.HalfCloseableStream):
    """One client's connection, from `BackendListener.accept`; a stream, and it counts until it is closed."""

    def __init__(self, listener: BackendListener, sock: socket.socket) -> None:
        self._listener = listener
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._open = True

    @property
    def socket(self) -> trio.socket.SocketType:
        """Its socket."""
        return self._stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As `trio.SocketStream`. Cancellation: part of the data may have been sent."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As `trio.SocketStream`. Cancellation leaves nothing behind."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As `trio.SocketStream`. Cancellation: it may have been sent."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As `trio.SocketStream`. Cancellation loses nothing."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close it. Always a checkpoint. Cancellation: it is closed."""
        self._left()
        await self._stream.aclose()

    def __del__(self) -> None:
        with suppress(RuntimeError):  # trio's run is over
            self._left()

    def _left(self) -> None:
        if self._open:
            self._open = False
            self._listener._leave()


@final
class BackendListener(trio.abc.Listener[BackendConnection]):
    """What `BrokeredBackend.serve` gets: ``await listener.serve(handler)``, or `accept`, or `trio.serve_listeners`.

    Attributes:
        connections: how many are open.
        accepted: how many there were.
        taken: how many of these the backend has taken.
        turned_away: how many were another user's.
        pressed: how often there was no descriptor left for one; it waited.
        demoted: whether descriptors are short: set when there was none, until some were accepted in a row.
        idle_since: when the last one was closed, in trio's time; inf while any is open.
        changed: set, and replaced, whenever one of these numbers changes.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._send, self._receive = trio.open_memory_channel[BackendConnection](0)
        self._doors: dict[socket.socket, _Door] = {}
        self.connections: int = 0
        self.accepted: int = 0
        self.taken: int = 0
        self.turned_away: int = 0
        self.pressed: int = 0
        self.demoted: bool = False
        self.idle_since: float = trio.current_time()
        self.changed: trio.Event = trio.Event()
        self._good = 0

    def __repr__(self) -> str:
        return f"<BackendListener {self.connections} open, {self.accepted} accepted>"

    async def accept(self) -> BackendConnection:
        """The next connection; once there are no more, this waits until it is cancelled.

        Always a checkpoint. Cancellation loses no connection.
        """
        return await self._receive.receive()

    async def serve(self, handler: Callable[[BackendConnection], Awaitable[object]]) -> NoReturn:
        """Handle each connection in a task of its own, until cancelled. What fails in one ends that one alone.

        Cancellation: the connections are closed.
        """
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._handle, handler, await self.accept())

    async def _handle(
        self, handler: Callable[[BackendConnection], Awaitable[object]], connection: BackendConnection
    ) -> None:
        try:
            await handler(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            _log.debug("a client left: %s", error)  # they do, at any moment
        except Exception:
            _log.exception("a connection's handler failed")
        finally:
            await trio.aclose_forcefully(connection)

    async def aclose(self) -> None:
        """Nothing: doors are closed by whoever opened them. Always a checkpoint. Cancellation changes nothing."""
        await trio.lowlevel.checkpoint()

    def open_door(self, sock: socket.socket) -> None:
        """Accept from this listening socket too, and own it."""
        sock.setblocking(False)
        self._doors[sock] = _Door()
        self._nursery.start_soon(self._pump, sock, name="accepting")

    def shut_door(self, sock: socket.socket) -> None:
        """Let nobody in through it any more; who is in its queue is accepted, and then it is closed."""
        door = self._doors.get(sock)
        if door is not None and not door.shut:
            sock.shutdown(socket.SHUT_RD)  # Linux refuses whoever comes from here on, and accept goes on
            door.shut = True

    async def close_door(self, sock: socket.socket) -> None:
        """Shut it, and return when all who were in its queue are with the backend.

        Always a checkpoint. Cancellation: it is shut; who was in its queue is accepted meanwhile.
        """
        self.shut_door(sock)
        door = self._doors.get(sock)
        await trio.lowlevel.checkpoint()
        if door is not None:
            await door.emptied.wait()

    def touch(self) -> None:
        """Being idle begins now, at the earliest."""
        self.idle_since = max(self.idle_since, trio.current_time())

    async def wait_idle(self, seconds: float = 0.0) -> None:
        """Return when no connection has been open for so long. Cancellation leaves nothing behind."""
        while True:
            await trio.lowlevel.checkpoint()
            left = self.idle_since + seconds - trio.current_time()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await self.changed.wait()

    async def _pump(self, sock: socket.socket) -> None:
        try:
            while (found := await self._next(sock)) is not None:
                if peer_uid(found) not in (os.geteuid(), 0):
                    self.turned_away += 1
                    _log.warning("uid %d tried to connect and was turned away", peer_uid(found))
                    found.close()
                    continue
                connection = self._enter(found)
                try:
                    await self._send.send(connection)
                    self.taken += 1
                    self._tell()
                except BaseException:
                    connection._left()
                    found.close()
                    raise
        finally:
            self._shut(sock)

    async def _next(self, sock: socket.socket) -> socket.socket | None:
        """The next of its queue, or None when the door is closed and the queue empty."""
        await trio.lowlevel.checkpoint()
        while True:
            closed = sock not in self._doors or self._doors[sock].shut
            try:
                found, _ = sock.accept()
            except BlockingIOError:
                if closed:  # looked at before accepting: after it nobody can have come
                    return None
                await trio.lowlevel.wait_readable(sock)
            except OSError as error:
                if error.errno in _PRESSURE:
                    await self._press(error)
                elif error.errno not in _GONE_ALREADY:
                    raise
            else:
                self._relieve()
                return found

    async def _press(self, error: OSError) -> None:
        if not self.demoted:
            _log.warning("connections wait: %s", error)
        self.pressed += 1
        self.demoted, self._good = True, 0
        await trio.sleep(PRESSURE_PAUSE)

    def _relieve(self) -> None:
        self._good += 1
        if self._good >= RECOVERED:
            self.demoted = False

    def _enter(self, sock: socket.socket) -> BackendConnection:
        self.connections += 1
        self.accepted += 1
        self.idle_since = math.inf
        self._tell()
        return BackendConnection(self, sock)

    def _leave(self) -> None:
        self.connections -= 1
        if self.connections == 0:
            self.idle_since = trio.current_time()
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def _shut(self, sock: socket.socket) -> None:
        door = self._doors.pop(sock, None)
        if door is not None:
            trio.lowlevel.notify_closing(sock)
            sock.close()
            door.emptied.set()

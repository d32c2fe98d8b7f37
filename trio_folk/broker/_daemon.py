"""The daemon's life: it serves, says how far it is, mends its doors, and leaves without losing anybody.

Invariants
    1. Its doors are closed before its connections are waited for, and those before `serve` is cancelled.
    2. It ends for want of connections only while it holds the spawn lock, and only if nobody came meanwhile.
    3. Its end is planned (idle, retired, SIGTERM, cancelled) or a crash; only a crash spends its attempt.

Knows one backend and its doors. Does not know how it was launched.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import trio

from .._errors import BindError, SpawnLockError
from .._spawn import SpawnLock, acquire_spawn_lock, wait_spawn_lock
from ._contract import BrokeredBackend
from ._control import Leaving, serve_control
from ._doors import Doors
from ._listener import BackendListener
from ._record import State

__all__ = ["Daemon"]

STABLE_AFTER = 1.0
"""Seconds of serving after which its attempt is given back."""
MEND_EVERY = 5.0
"""Seconds between two looks at its files."""
QUIESCE_WAIT = 5.0
"""Seconds that a backend has to come to rest before its doors are closed."""
LOCK_WAIT = 2.0
"""Seconds that a leaving daemon waits for the spawn lock; then it leaves without."""
DOOR_WAIT = 2.0
"""Seconds that those in a closed door's queue may take to reach the backend, at an idle end."""
LOCK_PAUSE = 0.1
"""Seconds before an idle daemon looks at a taken lock again."""

_log = logging.getLogger("trio_folk.broker")


class Daemon:
    """One backend being served in this process."""

    def __init__(
        self, backend: type[BrokeredBackend], doors: Doors, *, idle_timeout: float, drain_timeout: float
    ) -> None:
        self._backend = backend
        self._doors = doors
        self._idle_timeout = idle_timeout
        self._drain_timeout = drain_timeout
        self._state = doors.record.state
        self._moved = trio.Event()
        self._life = trio.CancelScope()
        self._served = trio.Event()
        self._leaving = False
        self._instance: BrokeredBackend | None = None
        self._began = trio.current_time()

    async def run(self) -> None:
        """Serve until it is time to leave. Cancellation: it leaves at once; connections are cut."""
        try:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._listener = BackendListener(nursery)
                    self._listener.open_door(self._doors.main.sock)
                    self._answer()
                    for task in (self._look_after, self._idle_end, self._become_stable):
                        nursery.start_soon(task)
                    nursery.start_soon(self._obey, signals)
                    await self._serve()
                    self._doors.settle(planned=True)  # before the lock of an idle end is released
                    nursery.cancel_scope.cancel()
        except BaseException as error:
            self._doors.settle(planned=not _is_crash(error))
            raise
        finally:
            self._doors.close()

    async def _serve(self) -> None:
        try:
            with self._life:
                async with trio.open_nursery() as nursery:
                    self._instance = self._backend()
                    self._move(State.SERVING)
                    await nursery.start(self._instance.serve, self._listener)
                    self._listener.touch()
                    self._move(State.READY)
        finally:
            self._served.set()

    def _move(self, state: State) -> None:
        if not self._leaving:
            self._state = state
            self._doors.write(state=state)
            moved, self._moved = self._moved, trio.Event()
            moved.set()

    def _answer(self) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._doors.control.sock))
        self._nursery.start_soon(serve_control, self, listener)

    # what the control endpoint asks for

    def about(self) -> dict[str, Any]:
        """Who it is, and how it is."""
        record = self._doors.record
        return {
            "pid": os.getpid(),
            "started": record.started,
            "boot": record.boot,
            "service": record.service,
            "version": record.version,
            "endpoint": record.endpoint,
            "state": self._state.value,
            "connections": self._listener.connections,
            "accepted": self._listener.accepted,
            "pressed": self._listener.pressed,
            "uptime": trio.current_time() - self._began,
            "idle_timeout": None if self._idle_timeout == math.inf else self._idle_timeout,
        }

    async def reached(self, state: State) -> None:
        """Return when it is that far."""
        while self._state.rank < state.rank:
            if self._leaving:
                raise Leaving(f"process {os.getpid()} is shutting down")
            await self._moved.wait()

    async def quiesce(self, reason: str) -> None:
        """Come to rest."""
        if self._instance is not None:
            await self._instance.quiesce(reason)

    async def release(self, prefix: str) -> None:
        """Close what is open below this path."""
        if self._instance is None:
            raise NotImplementedError
        await self._instance.release_handles(prefix)

    async def retire(self, reason: str, within: float | None) -> None:
        """Close the doors, then end when the last connection does, or the time is over.

        With a time of its own the asker holds the spawn lock, and the files are the successor's from now on.
        """
        if self._leaving:
            raise Leaving(f"process {os.getpid()} is shutting down")
        self._leaving = True
        await self._close(reason)
        if within is not None:
            self._doors.settle(planned=True)
        self._nursery.start_soon(self._drain, self._drain_timeout if within is None else within)

    # leaving

    async def _close(self, reason: str) -> None:
        _log.info("leaving: %s", reason)
        try:
            with trio.move_on_after(QUIESCE_WAIT):
                await self.quiesce(reason)
        except Exception:
            _log.exception("the backend did not come to rest")
        self._state = State.DRAINING
        self._moved.set()
        self._doors.write(state=State.DRAINING)
        self._doors.withdraw()
        self._listener.shut_door(self._doors.main.sock)

    async def _drain(self, within: float) -> None:
        with trio.move_on_after(within):
            await self._listener.close_door(self._doors.main.sock)
            await self._listener.wait_idle()
        self._life.cancel()

    async def _leave(self, reason: str) -> None:
        if self._leaving:  # whoever asks twice does not want to wait
            self._life.cancel()
            return
        self._leaving = True
        lock: SpawnLock | None = None
        with suppress(SpawnLockError):
            lock = await wait_spawn_lock(self._doors.place.lock, timeout=LOCK_WAIT)
        try:
            await self._close(reason)
        finally:
            if lock is not None:
                lock.release()
        await self._drain(self._drain_timeout)

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:  # whoever sends it holds the spawn lock
                self.mend()
            else:
                self._nursery.start_soon(self._leave, signal.Signals(number).name)

    async def _idle_end(self) -> None:
        if self._idle_timeout == math.inf:
            return
        with suppress(Leaving):
            await self.reached(State.READY)
        while not self._leaving:
            await self._listener.wait_idle(self._idle_timeout)
            try:
                lock = acquire_spawn_lock(self._doors.place.lock)
            except SpawnLockError:  # somebody is starting, mending or retiring something here
                await trio.sleep(LOCK_PAUSE)
                continue
            with lock:
                if not self._leaving and not self._listener.connections:
                    await self._slip_out(lock)

    async def _slip_out(self, lock: SpawnLock) -> None:
        """End, unless somebody came in while the door was being closed: then open another one."""
        before, sock = self._listener.accepted, self._doors.main.sock
        self._doors.main.withdraw()
        with trio.move_on_after(DOOR_WAIT):
            await self._listener.close_door(sock)
        if self._listener.accepted == before and not self._listener.connections:
            _log.info("leaving: idle for %g s", self._idle_timeout)
            self._leaving = True
            self._life.cancel()
            await (
                self._served.wait()
            )  # the lock is held until nothing is served; `run` settles, then cancels this
            await trio.sleep_forever()
        self._reopen(lock)

    # mending

    def _reopen(self, lock: SpawnLock | None) -> None:
        main = self._doors.main
        before = main.reopen(lock)
        self._listener.open_door(main.sock)
        self._listener.shut_door(before)
        self._doors.write()

    def mend(self, lock: SpawnLock | None = None) -> None:
        """Put back what somebody removed; whoever asks for it holds the spawn lock."""
        if self._leaving:
            return
        try:
            if not self._doors.main.in_place:
                self._reopen(lock)
                _log.warning("the endpoint was gone, and is there again: %s", self._doors.place.endpoint)
            if not self._doors.control.in_place:
                self._doors.control.reopen(
                    lock
                )  # the one from before ends with those who are connected to it
                self._answer()
            self._doors.write()
        except (BindError, SpawnLockError, OSError) as error:
            _log.warning("the endpoint cannot be mended: %s", error)

    async def _look_after(self) -> None:
        while True:
            await trio.sleep(MEND_EVERY)
            if self._leaving:
                return
            if self._doors.superseded:
                self._nursery.start_soon(self._superseded)
                return
            if not self._doors.in_place:
                with suppress(SpawnLockError):
                    with acquire_spawn_lock(self._doors.place.lock) as lock:
                        self.mend(lock)

    async def _superseded(self) -> None:
        if not self._leaving:
            self._leaving = self._doors.disowned = True
            await self._close("another daemon has taken its place")
            await self._drain(math.inf)

    async def _become_stable(self) -> None:
        with suppress(Leaving):
            await self.reached(State.SERVING)
            await trio.sleep(STABLE_AFTER)
            if not self._leaving:
                self._doors.stable()


def _is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_crash(each) for each in error.exceptions)
    return isinstance(error, Exception)

"""Connect or spawn: a connection to a backend, which is started if it does not run, at most once however many ask.

Invariants
    1. Of the tasks of this program that want the same backend one goes for the lock; the others wait for what comes of
       it, and share its failure.
    2. Before and after the lock it is looked again: who loses the race connects.
    3. A refused connection is never the caller's: it means that somebody has to look under the lock.

Knows the order of the steps. Does not know what is done under the lock.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import copy
from typing import Literal

import attrs
import trio

from .._errors import (
    AlreadyLocked,
    BackendRefused,
    BootFailed,
    BootTimeout,
    FolkError,
    LockDeletedOrRecreated,
)
from .._spawn import SpawnLock, acquire_spawn_lock
from ._address import check_folder
from ._dial import Unreachable, dial
from ._log import tail_since
from ._place import Place
from ._record import State, read_record
from ._service import Service
from ._spawning import QUICK_RETRY, ensure, too_new
from ._versions import Fit
from ._waiting import Gone, wait_state

__all__ = ["connect_or_spawn"]

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1
"""Seconds between two looks at a lock that somebody else holds."""


@attrs.define(eq=False)
class _Flight:
    """Who of this program goes for the lock, and what came of it last."""

    turn: trio.Lock = attrs.field(factory=trio.Lock)
    askers: int = 0
    failures: int = 0
    failure: FolkError | None = None


_flights: trio.lowlevel.RunVar[dict[str, _Flight]] = trio.lowlevel.RunVar("trio_folk backends")


async def connect_or_spawn(
    service: Service,
    *,
    until: Literal["bound", "serving", "ready"] = "bound",
    timeout: float = 60.0,
) -> trio.SocketStream:
    """A connection to the service's backend, which is started if it does not run.

    Args:
        service: which.
        until: how far it is to be when this returns: its endpoint is bound, so that what is sent waits for it; its
            `serve` runs; or it has said that it is ready.
        timeout: seconds for all of this.

    Raises:
        SpawnBudgetExhausted: all programs together have started it too often; says when to come back.
        BackendRefused: what runs may not be used, or not now; says when to come back.
        BootFailed, BootTimeout: it was started, and died or did not get that far; carries its last lines.
        BindError: the endpoint cannot be had.
        SpawnLockError: the lock's file is not safe.

    Always a checkpoint. Cancellation: there is no connection; a daemon that was started goes on, for whoever comes.
    """
    deadline = trio.current_time() + timeout
    place = service.place
    deaths = 0
    while True:
        stream = await _look(service, place, deadline)
        if stream is None:
            stream = await _single_flight(service, place, deadline)
        if until == "bound":
            return stream
        try:
            await wait_state(place, State(until), deadline)
        except Gone:
            await trio.aclose_forcefully(stream)
            deaths += 1
            if deaths > 1:
                raise BootFailed(
                    f"{service.name} ended before it was {until}",
                    stage="boot",
                    stderr=tail_since(place.log, 0),
                ) from None
            await trio.sleep(QUICK_RETRY)
        except trio.TooSlowError:
            await trio.aclose_forcefully(stream)
            raise BootTimeout(
                f"{service.name} is not {until} within {timeout:g} s",
                stage="boot",
                hint=f"see what its start waits for in {place.log}",
            ) from None
        except BackendRefused:  # it leaves: the next look waits for its end
            await trio.aclose_forcefully(stream)
            if trio.current_time() >= deadline:
                raise
            await trio.sleep(LONGEST_PAUSE)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        else:
            return stream


async def _look(service: Service, place: Place, deadline: float) -> trio.SocketStream | None:
    """A connection, if the backend is there and its version will do."""
    record = read_record(place.record)
    if record is not None and record.state is not State.ENDED:
        fit = service.fit(record.version)
        if fit is not Fit.GOOD and record.lives:
            if fit is Fit.NEW:
                raise too_new(service, record)
            await trio.lowlevel.checkpoint()
            return None
    try:
        return await dial(place.endpoint, deadline=deadline)
    except Unreachable:
        return None


async def _single_flight(service: Service, place: Place, deadline: float) -> trio.SocketStream:
    flights = _flights_of_this_run()
    flight = flights.setdefault(place.lock, _Flight())
    flight.askers += 1
    seen = flight.failures
    try:
        async with flight.turn:
            if flight.failures != seen and flight.failure is not None:
                raise copy.copy(flight.failure) from flight.failure.__cause__
            try:
                return await _between_programs(service, place, deadline)
            except FolkError as error:
                flight.failures += 1
                flight.failure = error
                raise
    finally:
        flight.askers -= 1
        if not flight.askers:
            flights.pop(place.lock, None)


async def _between_programs(service: Service, place: Place, deadline: float) -> trio.SocketStream:
    check_folder(place.record)
    pause = FIRST_PAUSE
    while True:
        if (stream := await _look(service, place, deadline)) is not None:
            return stream
        try:
            lock = acquire_spawn_lock(place.lock)
        except (AlreadyLocked, LockDeletedOrRecreated) as error:
            left = deadline - trio.current_time()
            if left <= 0:
                raise BackendRefused(
                    f"somebody else has been starting {service.name} for too long", "busy", pid=error.pid
                ) from error
            await trio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        with lock:
            if (stream := await _under_lock(service, place, lock, deadline)) is not None:
                return stream
        if trio.current_time() >= deadline:
            raise BackendRefused(f"{service.name} is started, and does not stay", "busy")


async def _under_lock(
    service: Service, place: Place, lock: SpawnLock, deadline: float
) -> trio.SocketStream | None:
    if (stream := await _look(service, place, deadline)) is not None:
        return stream
    await ensure(service, lock, deadline)
    return await _look(service, place, deadline)


def _flights_of_this_run() -> dict[str, _Flight]:
    try:
        return _flights.get()
    except LookupError:
        flights: dict[str, _Flight] = {}
        _flights.set(flights)
        return flights

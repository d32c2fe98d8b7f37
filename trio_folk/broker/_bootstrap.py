"""Bootstrap: what a daemon's program calls: take the listener or bind, write the record, serve.

In this order, and each step only if the one before succeeded: a daemon that loads before it binds is refused, and one
that serves without a record is started a second time.

Knows the order. Does not know how any of it is done.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections.abc import Callable, MutableMapping

import attrs

from .._errors import AlreadyBound, BindError, BootFailed
from .._spawn import SpawnLock, process_started, wait_spawn_lock
from ._address import check_folder, find_socket
from ._adoption import adopt
from ._binding import bind_endpoint
from ._contract import BrokeredBackend
from ._daemon import Daemon
from ._doors import Door, Doors
from ._inspection import BIND_LIMIT, inspect_bind
from ._place import Place
from ._record import Record, State, now, read_record

__all__ = ["CONFORMANCE", "TOLD", "bootstrap", "tell"]

TOLD = "TRIO_FOLK_BACKEND"
"""The variable in which a launched daemon finds its place; whoever set it holds the spawn lock."""
CONFORMANCE = "TRIO_FOLK_CONFORMANCE"
"""The variable that, set to anything, has every bind inspected."""
DRAIN_TIMEOUT = 10.0
"""Seconds that connections are given after SIGTERM."""
LOCK_WAIT = 60.0
"""Seconds that a daemon which nobody launched waits for the spawn lock."""


def tell(place: Place) -> dict[str, str]:
    """The environment that tells a launched daemon its place."""
    return {TOLD: json.dumps(attrs.asdict(place))}


async def bootstrap(
    backend: type[BrokeredBackend],
    endpoint: str | None = None,
    *,
    idle_timeout: float | None = None,
    drain_timeout: float = DRAIN_TIMEOUT,
    conformance: bool | None = None,
) -> None:
    """Be this backend's daemon: ``trio.run(bootstrap, Echo)``. Returns when it has ended as planned.

    Args:
        backend: the class.
        endpoint: where, if nobody launched this process for a `Service`, which says where itself.
        idle_timeout: seconds without a connection after which it ends; by default what the service says, else never.
        drain_timeout: seconds that connections are given after SIGTERM.
        conformance: inspect bind, and fail if it does anything but bind; by default if TRIO_FOLK_CONFORMANCE is set.

    Raises:
        BindError: the endpoint cannot be bound, or the listener that was handed over is not what was told.
        BootFailed: the class has another version than the service that launched it.
        SpawnLockError: the spawn lock cannot be had; only where nobody launched this process.

    Always a checkpoint. Cancellation: connections are cut, its files removed; SIGTERM instead drains.
    """
    place = _place(endpoint, os.environ)
    inspected = bool(os.environ.get(CONFORMANCE)) if conformance is None else conformance
    bind = _inspected(backend.bind) if inspected else backend.bind
    if place is not None:
        doors = _open(backend, bind, place, None)
    elif endpoint is None:
        raise BindError("no endpoint: name one, or have this program launched by connect_or_spawn")
    else:
        place = Place.of(os.fspath(endpoint))
        check_folder(place.record)
        with await wait_spawn_lock(place.lock, timeout=LOCK_WAIT) as lock:
            doors = _open(backend, bind, place, lock)
    idle = doors.record.idle_timeout if idle_timeout is None else idle_timeout
    doors.record = attrs.evolve(doors.record, idle_timeout=idle)
    await Daemon(backend, doors, idle_timeout=idle, drain_timeout=drain_timeout).run()


def _place(endpoint: str | None, environ: MutableMapping[str, str]) -> Place | None:
    """What the launcher told, once: children of this process are not told."""
    told = environ.pop(TOLD, None)
    if told is None:
        return None
    try:
        place = Place(**json.loads(told))
    except (ValueError, TypeError) as error:
        raise BindError(f"{TOLD} makes no sense: {error}", endpoint or "") from error
    if endpoint is not None and endpoint != place.endpoint:
        raise BindError(f"launched for {place.endpoint}, and told to bind {endpoint}", endpoint)
    return place


def _open(
    backend: type[BrokeredBackend],
    bind: Callable[[str], socket.socket],
    place: Place,
    lock: SpawnLock | None,
) -> Doors:
    record = read_record(place.record)
    if lock is not None and record is not None and record.lives:
        raise AlreadyBound(
            f"process {record.pid} is this backend already: {place.endpoint}", place.endpoint, pid=record.pid
        )
    _check_version(backend, record)
    handed = adopt(place.endpoint)
    if handed is None:
        main = Door.open(place.endpoint, bind, lock)
    else:
        main = Door(place.endpoint, bind, handed, find_socket(place.endpoint))
    try:
        control = Door.open(place.control, bind_endpoint, lock)
    except BaseException:
        main.withdraw()
        main.sock.close()
        raise
    if record is None or not record.is_of(os.getpid()):
        record = _new_record(place, record)
    doors = Doors(place, main, control, record)
    try:
        doors.write(must=True, state=State.BOUND, version=backend.version or record.version)
    except BaseException:
        doors.withdraw()
        doors.close()
        raise
    return doors


def _check_version(backend: type[BrokeredBackend], record: Record | None) -> None:
    """Replacing an old daemon by the same old program would go on until the budget is used up."""
    if record is not None and record.is_of(os.getpid()) and backend.version not in (None, record.version):
        raise BootFailed(
            f"this program is version {backend.version}, and was launched as {record.version}",
            pid=os.getpid(),
            stage="boot",
            hint="the service's version is that of the program it names",
        )


def _new_record(place: Place, before: Record | None) -> Record:
    """Of a daemon that nobody launched; attempts that count against its budget go on counting."""
    return Record(
        service=os.path.basename(place.record).removesuffix(".json"),
        version="0.0.0",
        endpoint=place.endpoint,
        control=place.control,
        state=State.BOUND,
        pid=os.getpid(),
        started=process_started(os.getpid()),
        launched=now(),
        attempts=before.attempts if before is not None and not before.lives else (),
        idle_timeout=math.inf,
        program=tuple(sys.argv),
    )


def _inspected(bind: Callable[[str], socket.socket]) -> Callable[[str], socket.socket]:
    def watched(endpoint: str) -> socket.socket:
        report = inspect_bind(bind, endpoint)
        if report.touched:
            raise BindError(f"bind {report.touched[0]}: it may do nothing but bind", endpoint)
        if report.error is not None:
            raise report.error
        if report.seconds > BIND_LIMIT:
            raise BindError(f"bind took {report.seconds:.3g} s, and may take {BIND_LIMIT:g}", endpoint)
        listener: socket.socket = report.listener
        return listener

    return watched

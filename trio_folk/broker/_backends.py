"""All backends of a directory: which run and how they are, a word to all of them, and the traces of the dead removed.

A record is a claim. What it says is shown, but nothing is called running that has not answered, and nothing is removed
whose process is not proven dead while the lock is held.

Knows records, probes and the lock. Does not know how it is shown.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from contextlib import suppress

import attrs
import trio

from .._errors import ApplicationError, BackendRefused, BindError, SpawnLockError
from .._spawn import acquire_spawn_lock
from ._ask import UNSUPPORTED, ask, probe
from ._binding import remove_stale
from ._dial import Unreachable
from ._place import Place, runtime_directory
from ._record import Record, State, read_record, remove_record

__all__ = [
    "BackendStatus",
    "Broadcast",
    "clean_backends",
    "list_backends",
    "quiesce",
    "release_handles",
    "shutdown",
]

ACK_TIMEOUT = 5.0
"""Seconds that a backend has to say that it did what all were told."""


@attrs.frozen(kw_only=True)
class BackendStatus:
    """One backend, as far as anybody can tell.

    Attributes:
        service, version, endpoint, pid: what its record says.
        state: ``"bound"``, ``"serving"``, ``"ready"``, ``"draining"`` as it said itself; ``"launched"`` or ``"bound"``
            from its record while it starts; ``"silent"``: it lives and does not answer; ``"stale"``: it is dead and has
            left traces; ``"ended"``: it has left nothing but attempts that count against its budget.
        connections: how many are open, or None where it did not say.
        uptime: seconds since it began to serve, or None.
        pressed: how often it had no descriptor left for a connection, or None.
        attempts: how many attempts to start it are on record.
    """

    service: str
    version: str
    endpoint: str
    pid: int | None
    state: str
    connections: int | None = None
    uptime: float | None = None
    pressed: int | None = None
    attempts: int = 0


@attrs.frozen(kw_only=True)
class Broadcast:
    """What came of a word to all backends; each is named by its service.

    Attributes:
        acks: they did it.
        timeouts: they have not said so in time.
        failures: they could not, and why.
        skipped_dead: their processes have ended.
    """

    acks: tuple[str, ...] = ()
    timeouts: tuple[str, ...] = ()
    failures: dict[str, str] = attrs.field(factory=dict)
    skipped_dead: tuple[str, ...] = ()

    @property
    def all_acked(self) -> bool:
        """Whether every one that lives did it."""
        return not self.timeouts and not self.failures


async def list_backends(directory: str | None = None) -> list[BackendStatus]:
    """Every backend that has a record in this directory, by name; each is probed, all at once.

    Always a checkpoint. Cancellation leaves nothing behind.
    """
    found: dict[str, BackendStatus] = {}

    async def look(record: Record) -> None:
        found[record.service] = await _status(record)

    async with trio.open_nursery() as nursery:
        for _, record in _records(directory):
            nursery.start_soon(look, record)
    await trio.lowlevel.checkpoint()
    return [found[name] for name in sorted(found)]


async def _status(record: Record) -> BackendStatus:
    status = BackendStatus(
        service=record.service,
        version=record.version,
        endpoint=record.endpoint,
        pid=record.pid,
        state=State.ENDED.value if record.state is State.ENDED else "stale",
        attempts=record.spent,
    )
    if not record.lives:
        return status
    if (said := await probe(record)) is not None:
        return attrs.evolve(
            status,
            state=said.state.value,
            connections=said.connections,
            uptime=said.uptime,
            pressed=said.pressed,
        )
    starting = record.state in (State.LAUNCHED, State.BOUND)
    return attrs.evolve(status, state=record.state.value if starting else "silent")


def clean_backends(directory: str | None = None) -> list[str]:
    """Remove what dead backends left behind, and say whose it was; what may be alive, or is locked, stays.

    Attempts that count against a budget stay on record.
    """
    cleaned = []
    for path, record in _records(directory):
        place = _place(path, record)
        with suppress(SpawnLockError, BindError), acquire_spawn_lock(place.lock) as lock:
            current = read_record(path)
            if current is None or current.lives or current.state is State.ENDED:
                continue
            if remove_stale(place.endpoint, lock) and remove_stale(place.control, lock):
                lock.verify()
                remove_record(path)
                cleaned.append(record.service)
    return cleaned


async def release_handles(
    prefix: str, directory: str | None = None, *, timeout: float = ACK_TIMEOUT
) -> Broadcast:
    """Tell every backend to close what it has open below this absolute path, and wait for it.

    Always a checkpoint. Cancellation: some may have been told.
    """
    return await _tell_all("broker.release", {"prefix": prefix}, directory, timeout)


async def quiesce(reason: str, directory: str | None = None, *, timeout: float = ACK_TIMEOUT) -> Broadcast:
    """Tell every backend to come to rest, e.g. before the machine sleeps, and wait for it.

    Always a checkpoint. Cancellation: some may have been told.
    """
    return await _tell_all("broker.quiesce", {"reason": reason}, directory, timeout)


async def shutdown(reason: str, directory: str | None = None, *, timeout: float = ACK_TIMEOUT) -> Broadcast:
    """Tell every backend to drain and end; returns when their endpoints are free.

    Always a checkpoint. Cancellation: some may have been told.
    """
    return await _tell_all("broker.shutdown", {"reason": reason}, directory, timeout)


async def _tell_all(method: str, params: dict[str, str], directory: str | None, timeout: float) -> Broadcast:
    acks: list[str] = []
    timeouts: list[str] = []
    failures: dict[str, str] = {}
    dead: list[str] = []

    async def tell(record: Record) -> None:
        name = record.service
        try:
            await ask(record.control, method, dict(params), timeout=timeout)
        except trio.TooSlowError:
            timeouts.append(name)
        except ApplicationError as error:
            failures[name] = "unsupported" if error.code == UNSUPPORTED else error.message
        except BackendRefused as error:
            failures[name] = error.message
        except (Unreachable, BindError):
            if record.lives:
                failures[name] = "does not answer"
            else:
                dead.append(name)
        else:
            acks.append(name)

    async with trio.open_nursery() as nursery:
        for _, record in _records(directory):
            nursery.start_soon(tell, record)
    await trio.lowlevel.checkpoint()
    return Broadcast(
        acks=tuple(sorted(acks)),
        timeouts=tuple(sorted(timeouts)),
        failures=failures,
        skipped_dead=tuple(sorted(dead)),
    )


def _records(directory: str | None) -> Sequence[tuple[str, Record]]:
    pattern = os.path.join(glob.escape(os.path.abspath(directory or runtime_directory())), "*.json")
    return [
        (path, record) for path in sorted(glob.glob(pattern)) if (record := read_record(path)) is not None
    ]


def _place(path: str, record: Record) -> Place:
    base = path.removesuffix(".json")
    return Place(record.endpoint, record.control, path, f"{base}.lock", f"{base}.log")

"""A live endpoint under attack: whatever is done beside it, our API never takes it, and its clients stay.

The full size is 1,000 attempts: BROKER_ATTACKS=1000.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from broker_kit import Broker, converse, gone, hear

from trio_folk import AlreadyBound, BindError, FolkError, SpawnBudget, acquire_spawn_lock
from trio_folk.broker import Service, bind_endpoint, bootstrap, clean_backends, connect_or_spawn
from trio_folk.broker._binding import bind_under_lock
from trio_folk.broker._record import State, read_record, remove_record, write_record

from broker_daemon import Counting  # isort: skip

ATTACKS = int(os.environ.get("BROKER_ATTACKS", "60"))


def race(service: Service) -> None:
    """Bind it, as a second starter would."""
    with pytest.raises(BindError):
        bind_endpoint(service.place.endpoint)


def race_with_lock(service: Service) -> None:
    """Bind it with the lock in hand."""
    with acquire_spawn_lock(service.place.lock) as lock:
        with pytest.raises(AlreadyBound):
            bind_under_lock(bind_endpoint, service.place.endpoint, lock)


def clean(service: Service) -> None:
    """Clean up after the dead."""
    assert clean_backends(service.directory) == []


def unlink(service: Service) -> None:
    """Delete the path."""
    with suppress(FileNotFoundError):
        os.unlink(service.place.endpoint)


def link(service: Service) -> None:
    """Put a symbolic link to a socket of one's own in its place."""
    unlink(service)
    os.symlink("elsewhere.sock", service.place.endpoint)


def leave_stale(service: Service) -> None:
    """Put a socket that nobody listens on in its place."""
    unlink(service)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(service.place.endpoint)


def forget(service: Service) -> None:
    """Delete the record."""
    remove_record(service.place.record)


def garble(service: Service) -> None:
    """Write nonsense into it."""
    Path(service.place.record).write_text('{"pid": -1, "state": "ready"')


ATTACKERS = (race, race_with_lock, clean, unlink, link, leave_stale, forget, garble)


async def test_live_endpoint_is_never_taken(broker: Broker) -> None:
    """Racing binders, unlinks, links, dead sockets, records gone or garbled: one daemon, and its client stays."""
    service = broker.service(budget=SpawnBudget(100_000, 3600))
    chance = random.Random()
    healed = 0
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        for _ in range(ATTACKS):
            attack = chance.choice(ATTACKERS)
            with suppress(BindError):
                attack(service)
            if os.path.islink(service.place.endpoint):
                with pytest.raises(FolkError, match="symbolic link"):
                    await connect_or_spawn(service, timeout=1)
                os.unlink(service.place.endpoint)  # nobody but its owner removes what is not a socket
            async with await connect_or_spawn(service) as later:
                assert await hear(later) == pid, attack.__name__
            assert await converse(stream, b"here") == b"here"
            healed += 1
    assert healed == ATTACKS
    assert broker.births == [pid]


async def test_stale_record_with_a_reused_pid_is_not_believed(broker: Broker) -> None:
    """A record that names a process of that number that started at another time is a dead one's."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        record = broker.record(service)
    broker.kill_all()
    await gone(pid)
    # this test's own process has the number now, and must be neither waited for nor signalled
    write_record(
        service.place.record, attrs.evolve(record, pid=os.getpid(), started=(record.started or 0) + 1)
    )
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != pid


async def test_record_of_another_boot_is_not_believed(broker: Broker) -> None:
    """The numbers begin anew with each boot, and so do the attempts."""
    service = broker.service(budget=SpawnBudget(1, 3600))
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        record = broker.record(service)
    broker.kill_all()
    await gone(pid)
    write_record(service.place.record, attrs.evolve(record, boot="another", attempts=(1.0, 2.0, 3.0)))
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != pid


async def test_second_daemon_by_hand_is_refused(broker: Broker) -> None:
    """Whoever starts the program beside a living one learns its pid, and has changed nothing."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        with pytest.raises(AlreadyBound) as refused:
            await bootstrap(Counting, service.place.endpoint)
        assert refused.value.pid == pid
        unlink(service)
        with pytest.raises(AlreadyBound, match=f"process {pid}"):
            await bootstrap(Counting, service.place.endpoint)
        assert await converse(stream, b"here") == b"here"


async def test_lock_taken_for_long_is_a_refusal_with_a_name(broker: Broker) -> None:
    """Whoever cannot get the lock in time learns who holds it, and when to come back."""
    service = broker.service()
    with acquire_spawn_lock(service.place.lock):
        with pytest.raises(FolkError, match="somebody else has been starting echo") as refused:
            await connect_or_spawn(service, timeout=0.2)
    assert refused.value.pid == os.getpid()
    assert read_record(service.place.record) is None


async def test_daemon_whose_place_was_taken_leaves(broker: Broker) -> None:
    """All its files are gone and a caller was quicker than it: it closes its doors, and serves those it has."""
    service = broker.service(env={"ALIVE": str(broker.folder / "alive-1")})
    async with await connect_or_spawn(service, until="ready") as stream:
        first = await hear(stream)
        for path in (service.place.endpoint, service.place.control, service.place.record):
            os.unlink(path)
        other = attrs.evolve(service, env=dict(service.env) | {"ALIVE": str(broker.folder / "alive-2")})
        async with await connect_or_spawn(other, until="ready") as later:
            second = await hear(later)
            assert await converse(stream, b"here") == b"here"
            assert broker.record(service).pid == second != first
            assert broker.record(service).state is State.READY
    await gone(first)

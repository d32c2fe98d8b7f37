"""The idle end: a daemon that nobody needs leaves, and whoever comes at that very moment is not lost.

The full size is 10,000 connections: BROKER_IDLE=10000.
"""

from __future__ import annotations

import os
import signal

import trio
from broker_kit import Broker, converse, gone, hear, until

from trio_folk import SpawnBudget
from trio_folk.broker import connect_or_spawn
from trio_folk.broker._record import read_record

CONNECTIONS = int(os.environ.get("BROKER_IDLE", "300"))
IDLE = 0.02


async def test_daemon_without_connections_ends_and_leaves_no_trace(broker: Broker) -> None:
    """After its idle time it is gone, with its endpoint, control endpoint and record."""
    service = broker.service(idle_timeout=0.2)
    async with await connect_or_spawn(service) as stream:
        pid = await hear(stream)
    await gone(pid)
    left = {name for name in os.listdir(broker.folder) if name.startswith("echo")}
    assert left == {"echo.lock", "echo.log"}
    assert os.path.getsize(service.place.log) == 0


async def test_open_connection_keeps_it(broker: Broker) -> None:
    """Idle is counted from the last connection's end, not from its last word."""
    service = broker.service(idle_timeout=0.1)
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        await trio.sleep(1)
        assert await converse(stream, b"x") == b"x"
    await gone(pid)


async def test_nobody_who_comes_at_the_moment_of_leaving_is_lost(broker: Broker) -> None:
    """Connections aimed at the instant when the idle time is over: each is answered, none is refused or reset."""
    service = broker.service(idle_timeout=IDLE, budget=SpawnBudget(100_000, 3600))
    answered = 0
    jitter = 0.0

    async def ask() -> None:
        nonlocal answered
        async with await connect_or_spawn(service) as stream:
            await hear(stream)
            said = await converse(stream, b"here")
        answered += said == b"here"

    while answered < CONNECTIONS:
        asked = answered
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)
        assert answered == asked + 4
        jitter = (jitter + 0.0007) % 0.01
        await trio.sleep(IDLE - 0.005 + jitter)
    print(f"{answered} answered, by {len(broker.births)} daemons")
    assert len(broker.births) > 1  # it did leave now and then
    assert "two" not in broker.notes


async def test_next_one_begins_only_after_the_idle_one_has_ended(broker: Broker) -> None:
    """A backend that takes long to end, e.g. to write its state, is waited for: there are never two."""
    service = broker.service(idle_timeout=0.1, env={"LINGER": "1"})
    async with await connect_or_spawn(service) as stream:
        first = await hear(stream)
    await until(lambda: not os.path.exists(service.place.endpoint))
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != first
    assert "two" not in broker.notes


async def test_sigterm_drains(broker: Broker) -> None:
    """Who is connected is served on; the endpoint is free at once, and the next caller waits for its end."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not os.path.exists(service.place.endpoint))
        assert await converse(stream, b"still") == b"still"
        assert pid in broker.processes()
    await gone(pid)
    assert read_record(service.place.record) is None
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != pid
    assert "two" not in broker.notes


async def test_draining_has_a_bound(broker: Broker) -> None:
    """A client that never leaves does not keep a daemon that was told to end."""
    service = broker.service(env={"DRAIN": "0.2"})
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        os.kill(pid, signal.SIGTERM)
        await gone(pid)
        assert await stream.receive_some() == b""

"""A daemon's life seen from outside: probes, words to all, pressure, and the command that lists them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import attrs
import pytest
import trio
from broker_kit import BOUND, ROOT, Broker, converse, gone, hear, until

from trio_folk import BackendRefused
from trio_folk.broker import (
    clean_backends,
    connect_or_spawn,
    list_backends,
    quiesce,
    release_handles,
    shutdown,
)
from trio_folk.broker._ask import ask, probe
from trio_folk.broker._record import State


async def test_probe_says_who_it_is_and_how(broker: Broker) -> None:
    """The answer is of this very process, with what is connected to it."""
    service = broker.service(version="1.2.3", idle_timeout=60)
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        said = await probe(broker.record(service), timeout=BOUND)
        assert said is not None
        assert (said.pid, said.service, said.version) == (pid, "echo", "1.2.3")
        assert (said.state, said.connections, said.idle_timeout) == (State.READY, 1, 60)
        assert said.uptime > 0


async def test_answer_of_another_process_is_no_answer(broker: Broker) -> None:
    """The record says who is asked: whoever else has the endpoint by now is not it."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready"):
        record = broker.record(service)
        assert await probe(attrs.evolve(record, pid=os.getpid()), timeout=BOUND) is None
        assert await probe(attrs.evolve(record, control=f"{record.control}.x"), timeout=BOUND) is None


async def test_nonce_comes_back(broker: Broker) -> None:
    """What was asked is what is answered."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready"):
        told = await ask(service.place.control, "broker.probe", {"nonce": b"\x00\xff"}, timeout=BOUND)
    assert told["nonce"] == b"\x00\xff"


async def test_word_to_all_has_an_answer_from_each(broker: Broker) -> None:
    """Who did it, who cannot, who does not say so in time, who is dead: each by name."""
    good = broker.service("good", env={"SUPPORTS": "1"})
    plain = broker.service("plain", env={"ALIVE": str(broker.folder / "alive-2")})
    dead = broker.service("dead", env={"ALIVE": str(broker.folder / "alive-3")})
    deaf = broker.service("deaf", env={"ALIVE": str(broker.folder / "alive-4"), "DEAF": "1"})
    for service in (good, plain, dead, deaf):
        await (await connect_or_spawn(service, until="ready")).aclose()
    pid = broker.record(dead).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await gone(pid)

    told = await release_handles("/srv/data", str(broker.folder), timeout=BOUND)
    assert (told.acks, told.skipped_dead) == (("good",), ("dead",))
    assert told.failures == {"plain": "unsupported", "deaf": "unsupported"}
    assert not told.all_acked
    assert "released /srv/data" in broker.notes

    told = await quiesce("maintenance", str(broker.folder), timeout=2)
    assert (told.acks, told.timeouts) == (("good", "plain"), ("deaf",))
    assert broker.notes.count("quiesced maintenance") == 3


async def test_shutdown_frees_the_endpoint_and_drains(broker: Broker) -> None:
    """The answer comes when nobody can connect any more; who is connected is served."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        told = await shutdown("update", str(broker.folder), timeout=BOUND)
        assert told.acks == ("echo",)
        assert not os.path.exists(service.place.endpoint)
        assert await converse(stream, b"here") == b"here"
        with pytest.raises(BackendRefused) as refused:
            await connect_or_spawn(service, timeout=0.3)
        assert (refused.value.reason, refused.value.pid) == ("shutting down", pid)
        assert refused.value.retry_after == 1
    await gone(pid)
    assert "quiesced update" in broker.notes


async def test_connections_wait_while_there_are_no_descriptors(broker: Broker) -> None:
    """The daemon runs out of them, says so, loses nobody, and recovers."""
    service = broker.service(idle_timeout=60)
    streams = []
    async with await connect_or_spawn(service, until="ready") as first:
        pid = await hear(first)
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 4, hard))
        streams = [await connect_or_spawn(service) for _ in range(12)]
        try:
            await until(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= open_now + 4)
            await trio.sleep(0.2)
            assert await converse(first, b"served meanwhile") == b"served meanwhile"
            for stream in streams[:2]:  # whose going makes room
                assert await hear(stream) == pid
                await stream.aclose()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            for stream in streams[2:]:
                assert await hear(stream) == pid
            [status] = await list_backends(str(broker.folder))
            assert status.pressed
        finally:
            for stream in streams:
                await stream.aclose()
    assert broker.births == [pid]


async def test_stopped_daemon_is_silent_and_the_dead_one_stale(broker: Broker) -> None:
    """What is shown is what is known; only what is proven dead is cleaned."""
    stopped = broker.service("stopped")
    dead = broker.service("dead", env={"ALIVE": str(broker.folder / "alive-2")})
    for service in (stopped, dead):
        await (await connect_or_spawn(service, until="ready")).aclose()
    pids = [broker.record(service).pid for service in (stopped, dead)]
    assert pids[0]
    assert pids[1]
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(pids[1], signal.SIGKILL)
    await gone(pids[1])
    found = {each.service: each.state for each in await list_backends(str(broker.folder))}
    assert found == {"stopped": "silent", "dead": "stale"}
    assert clean_backends(str(broker.folder)) == ["dead"]
    assert {each.service for each in await list_backends(str(broker.folder))} == {"stopped"}
    assert os.path.exists(stopped.place.endpoint)
    assert not os.path.exists(dead.place.endpoint)
    os.kill(pids[0], signal.SIGCONT)


def command(broker: Broker, *words: str) -> tuple[int, str]:
    """``trio-folk backends`` on this directory: its status, and what it printed."""
    argv = [sys.executable, "-m", "trio_folk", "backends", "--directory", str(broker.folder), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, timeout=BOUND)
    return done.returncode, done.stdout


async def told_by(broker: Broker, *words: str) -> tuple[int, Any]:
    status, out = await trio.to_thread.run_sync(command, broker, "--json", *words)
    return status, json.loads(out)


async def test_command_lists_backends(broker: Broker) -> None:
    """Pid, version, uptime, connections and state, as a table and as JSON."""
    service = broker.service(version="3.2.1", idle_timeout=60)
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        status, out = await trio.to_thread.run_sync(command, broker)
        assert status == 0
        heads, row = (line.split() for line in out.splitlines())
        assert heads[:4] == ["service", "version", "pid", "state"]
        assert row[:4] == ["echo", "3.2.1", str(pid), "ready"]
        status, told = await told_by(broker)
        assert status == 0
        [backend] = told["backends"]
        assert (backend["pid"], backend["connections"], backend["state"]) == (pid, 1, "ready")
        os.kill(pid, signal.SIGKILL)
    await gone(pid)
    status, told = await told_by(broker)
    assert (status, told["backends"][0]["state"]) == (1, "stale")
    status, told = await told_by(broker, "--clean")
    assert (status, told["cleaned"]) == (0, ["echo"])
    assert (await trio.to_thread.run_sync(command, broker))[1] == "no backends\n"

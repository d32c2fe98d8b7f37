"""connect_or_spawn: one daemon, whoever asks, at whatever moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
from broker_kit import Broker, converse, gone, hear, until

from trio_folk import BackendRefused, BootFailed, BootTimeout, SpawnBudget, SpawnBudgetExhausted
from trio_folk.broker import connect_or_spawn
from trio_folk.broker._detach import launch_detached
from trio_folk.broker._record import State, read_record

WARM = 3.0


async def test_first_caller_starts_it_and_the_second_finds_it(broker: Broker) -> None:
    """Two connections one after the other reach the same process."""
    service = broker.service()
    async with await connect_or_spawn(service) as first, await connect_or_spawn(service) as second:
        assert await hear(first) == await hear(second) == broker.record(service).pid
        assert await converse(first, b"hi") == b"hi"


async def test_tasks_of_one_program_share_one_launch(broker: Broker) -> None:
    """Fifty tasks that ask at once get one daemon, and spend one attempt."""
    service = broker.service(budget=SpawnBudget(1, 3600))
    pids = set()

    async def ask() -> None:
        async with await connect_or_spawn(service) as stream:
            pids.add(await hear(stream))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert len(pids) == 1
    assert broker.births == list(pids)


async def test_caller_waits_in_the_backlog_while_the_daemon_warms_up(broker: Broker) -> None:
    """With the listener handed down a connection succeeds long before anybody accepts it."""
    service = broker.service(env={"WARM": str(WARM)})
    async with await connect_or_spawn(service) as first:
        began = time.monotonic()
        async with await connect_or_spawn(service) as second:
            fast = time.monotonic() - began
            assert broker.record(service).state is not State.READY
            assert await hear(first) == await hear(second)
            slow = time.monotonic() - began
    assert fast < WARM / 2 < slow


async def test_a_daemon_that_binds_itself_is_connected_to_once_it_has(broker: Broker) -> None:
    """Without a listener handed down the caller waits for the program to come as far as bind."""
    service = broker.service(hand_over=False)
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) == broker.record(service).pid
    assert len(broker.births) == 1


async def test_bound_serving_and_ready_are_waited_for_apart(broker: Broker) -> None:
    """Each state is reached when it says so, and a later one not before."""
    service = broker.service(env={"WARM": str(WARM)})
    async with await connect_or_spawn(service):
        bound = broker.record(service)
    async with await connect_or_spawn(service, until="serving"):
        serving = broker.record(service)
    async with await connect_or_spawn(service, until="ready"):
        ready = broker.record(service)
    assert [each.state.rank for each in (serving, ready)] == [State.SERVING.rank, State.READY.rank]
    assert bound.state.rank <= serving.state.rank
    assert bound.pid == serving.pid == ready.pid


async def test_killed_daemon_is_started_again_by_the_next_caller(broker: Broker) -> None:
    """A dead daemon's path refuses; the caller gets a new daemon, and no refusal."""
    service = broker.service()
    async with await connect_or_spawn(service) as stream:
        first = await hear(stream)
    os.kill(first, signal.SIGKILL)
    await gone(first)
    assert Path(service.place.endpoint).exists()
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != first
    assert len(broker.births) == 2


async def test_unlinked_endpoint_is_mended_and_clients_stay(broker: Broker) -> None:
    """Somebody deletes the path: the next caller reaches the same daemon, and who was connected still is."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        os.unlink(service.place.endpoint)
        async with await connect_or_spawn(service) as later:
            assert await hear(later) == pid
        assert await converse(stream, b"still here") == b"still here"
    assert broker.births == [pid]


async def test_all_files_removed_and_the_daemon_puts_them_back(broker: Broker) -> None:
    """Endpoint, control endpoint and record deleted by hand: the daemon notices by itself."""
    service = broker.service()
    async with await connect_or_spawn(service, until="ready") as stream:
        pid = await hear(stream)
        for path in (service.place.endpoint, service.place.control, service.place.record):
            os.unlink(path)
        await until(lambda: os.path.exists(service.place.control) and read_record(service.place.record))
        async with await connect_or_spawn(service, until="ready") as later:
            assert await hear(later) == pid


async def test_budget_is_shared_through_the_record(broker: Broker) -> None:
    """What dies young spends attempts; when they are used up the refusal says when to come back, and why."""
    service = broker.service(env={"BROKEN": "import"}, budget=SpawnBudget(2, 3600))
    with pytest.raises(BootFailed) as failed:
        await connect_or_spawn(service, until="ready")
    assert "pillow" in "\n".join(failed.value.stderr)
    with pytest.raises(SpawnBudgetExhausted) as refused:
        await connect_or_spawn(service, until="ready")
    assert 3000 < refused.value.retry_after <= 3600
    assert "pillow" in "\n".join(refused.value.stderr)
    assert broker.record(service).spent == 2  # where every other program finds them


async def test_tasks_of_one_program_share_one_failure(broker: Broker) -> None:
    """Ten tasks that wait for a launch which fails learn of it together; nobody tries once more for himself."""
    service = broker.service(program=["no-such-daemon"], budget=SpawnBudget(100, 3600))
    failures: list[BootFailed] = []

    async def ask() -> None:
        with pytest.raises(BootFailed, match="no-such-daemon") as failed:
            await connect_or_spawn(service)
        failures.append(failed.value)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert len(failures) == 10
    assert broker.record(service).spent == 2  # the launch, and its one quick retry


async def test_stable_daemon_gives_its_attempt_back(broker: Broker) -> None:
    """A daemon that has served for a while does not count, even if it is killed afterwards."""
    service = broker.service(budget=SpawnBudget(1, 3600))
    async with await connect_or_spawn(service) as stream:
        pid = await hear(stream)
    await until(lambda: broker.record(service).spent == 0)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    async with await connect_or_spawn(service) as stream:
        assert await hear(stream) != pid


async def test_program_that_does_not_exist_is_named(broker: Broker) -> None:
    """A launch that fails is an error of the caller's with the reason, not a silence."""
    service = broker.service(program=["no-such-daemon"])
    with pytest.raises(BootFailed, match=r"no-such-daemon.*No such file"):
        await connect_or_spawn(service)
    assert not os.path.exists(service.place.endpoint)
    assert broker.record(service).state is State.ENDED


async def test_daemon_that_never_binds_is_ended(broker: Broker) -> None:
    """Its start has a bound; afterwards it is no more."""
    service = broker.service(hand_over=False, env={"BROKEN": "hang"}, start_timeout=0.5)
    with pytest.raises(BootTimeout, match="did not bind"):
        await connect_or_spawn(service)
    assert broker.processes() == []


async def test_daemon_that_is_never_ready_is_a_boot_timeout(broker: Broker) -> None:
    """Who waits for READY waits for a bounded time; who wants less is served."""
    service = broker.service(env={"BROKEN": "never"})
    with pytest.raises(BootTimeout, match="not ready within"):
        await connect_or_spawn(service, until="ready", timeout=2)
    async with await connect_or_spawn(service, until="serving"):
        pass


async def test_older_daemon_is_replaced_and_its_clients_stay(broker: Broker) -> None:
    """A program that wants a newer version gets it; who is connected to the old one goes on with it."""
    old = broker.service(version="1.0.0", env={"ALIVE": str(broker.folder / "old")})
    new = attrs.evolve(old, version="1.1.0", env=dict(old.env) | {"ALIVE": str(broker.folder / "new")})
    async with await connect_or_spawn(old, until="ready") as stream:
        first = await hear(stream)
        async with await connect_or_spawn(new) as later:
            second = await hear(later)
            assert second != first
            assert await converse(stream, b"old") == b"old"
            assert broker.record(new).version == "1.1.0"
    await gone(first)  # the last of its clients has left
    async with await connect_or_spawn(new) as later:
        assert await hear(later) == second


async def test_newer_daemon_is_never_replaced_by_an_older_one(broker: Broker) -> None:
    """A program that is too old is refused, and told when to ask again."""
    new = broker.service(version="2.0.0")
    async with await connect_or_spawn(new, until="ready") as stream:
        pid = await hear(stream)
    with pytest.raises(BackendRefused) as refused:
        await connect_or_spawn(attrs.evolve(new, version="1.0.0"))
    assert (refused.value.reason, refused.value.pid) == ("version", pid)
    assert refused.value.retry_after == 30


async def test_same_major_number_will_do(broker: Broker) -> None:
    """A newer daemon with the same first number serves older programs."""
    new = broker.service(version="1.5.0")
    async with await connect_or_spawn(new, until="ready") as stream:
        pid = await hear(stream)
    async with await connect_or_spawn(attrs.evolve(new, version="1.2.0")) as stream:
        assert await hear(stream) == pid


async def test_program_of_another_version_than_its_service_does_not_start(broker: Broker) -> None:
    """Else each caller would replace it by itself until the budget is used up."""
    service = broker.service(version="2.0.0", env={"VERSION": "1.0.0"})
    with pytest.raises(BootFailed) as failed:
        await connect_or_spawn(service, until="ready")
    assert "this program is version 1.0.0, and was launched as 2.0.0" in "\n".join(failed.value.stderr)


async def test_cancelled_caller_leaves_the_daemon_to_others(broker: Broker) -> None:
    """Whoever is cancelled while it starts takes nothing with him, and holds nothing."""
    service = broker.service(env={"WARM": "1"}, hand_over=False)
    with trio.move_on_after(0.3):
        await connect_or_spawn(service, until="ready")
    async with await connect_or_spawn(service, until="ready") as stream:
        assert await hear(stream) == broker.record(service).pid
    assert len(broker.births) == 1


async def test_daemon_outlives_its_caller_as_nobodys_child(broker: Broker) -> None:
    """It has a session of its own, and its parent is not this process: nobody here has to reap it."""
    service = broker.service()
    async with await connect_or_spawn(service) as stream:
        pid = await hear(stream)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, session = int(fields[1]), int(fields[3])
    assert (parent != os.getpid(), session) == (True, pid)


async def test_abstract_name_has_no_file(broker: Broker) -> None:
    """An abstract endpoint is served, killed and started again without a socket in the directory."""
    service = broker.service(abstract=True)
    for _ in range(2):
        async with await connect_or_spawn(service, until="ready") as stream:
            pid = await hear(stream)
            assert not [name for name in os.listdir(broker.folder) if name.endswith((".sock", ".ctl"))]
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
    assert len(set(broker.births)) == 2


async def test_what_was_not_recorded_never_begins(broker: Broker) -> None:
    """A starter that dies, or fails, before it wrote the pid down has started nothing: nobody could know of it."""
    mark = broker.folder / "begun"
    service = broker.service(program=["touch", str(mark)])
    pids = []

    def fails(pid: int) -> None:
        pids.append(pid)
        raise KeyError(pid)

    def records(pid: int) -> None:
        pids.append(pid)

    async def launch(recorded: Callable[[int], None]) -> None:
        await launch_detached(
            service.program,
            env=service.environment,
            cwd="/",
            log=service.place.log,
            listener=None,
            recorded=recorded,
        )
        await gone(pids[-1])

    with pytest.raises(KeyError):
        await launch(fails)
    await gone(pids[-1])
    assert not mark.exists()
    await launch(records)
    assert mark.exists()

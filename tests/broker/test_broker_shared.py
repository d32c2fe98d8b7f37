"""A pool that many programs share: the same calls, the same outcomes, with a daemon in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from broker_kit import BOUND, ROOT, Broker, gone, until
from shared_jobs import refuse, shout

from trio_folk import ApplicationError, PoolBusy, SpawnBudget, WorkerDied
from trio_folk._wire import encode_notify, encode_request, pack
from trio_folk.broker import Service, connect_or_spawn, connect_pool

HERE = Path(__file__).parent
PROGRAMS = int(os.environ.get("TRIO_FOLK_PROGRAMS", "8"))


def shared(broker: Broker, **env: str) -> Service:
    """The test's daemon with two workers."""
    path = os.pathsep.join(map(str, (ROOT, HERE)))
    program = (sys.executable, str(HERE / "shared_daemon.py"))
    budget = SpawnBudget(1000, 30)
    return broker.service("shared", program=program, env={"PYTHONPATH": path, **env}, budget=budget)


async def test_a_call_is_answered_as_by_a_pool_of_ones_own(broker: Broker) -> None:
    """Values, the application's errors, and a worker's death, each as itself."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool:
            assert await pool.execute("add", [1, 2]) == 3
            assert await pool.execute("add", {"left": 1, "right": 3}) == 4
            with pytest.raises(ApplicationError, match="no such luck") as caught:
                await pool.execute("fail", ["no such luck"])
            assert caught.value.remote_type == "ValueError"
            assert "shared_jobs.py" in (caught.value.remote_traceback or "")
            with pytest.raises(WorkerDied) as died:
                await pool.execute("die")
            assert died.value.exit_code == 3
            assert died.value.worker is not None
            assert "idempotent" in str(died.value)
            assert await pool.execute("add", [2, 3]) == 5
            assert "connected to 'pool'" in repr(pool)


async def test_timeouts_and_refusals_cross_the_socket(broker: Broker) -> None:
    """As what they are, so that they can be caught by their names."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool, trio.open_nursery() as nursery:
            with pytest.raises(trio.TooSlowError):
                await pool.execute("steps", [str(broker.folder / "slow")], exec_timeout=0.1)
            for name in "ab":
                nursery.start_soon(pool.execute, "steps", [str(broker.folder / name)])
            await until(lambda: (broker.folder / "a").exists() and (broker.folder / "b").exists())
            with pytest.raises(PoolBusy):
                await pool.execute("pid", queue_timeout=0)
            nursery.cancel_scope.cancel()


async def test_keys_and_priorities_cross_the_socket(broker: Broker) -> None:
    """A key's worker is the same for every client; what makes no sense is refused by the daemon, and harms nobody."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool, connect_pool(shared(broker)) as other:
            pids: set[int] = set()

            async def note_pid() -> None:
                pids.add(await pool.execute("pid"))

            while len(pids) < 2:  # both are ready: keys stay where they are
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(note_pid)
            key = ("customer", 7, (b"x",))
            first = await pool.execute("pid", key=key)
            assert {await each.execute("pid", key=key, priority=3) for each in (pool, other) * 5} == {first}
            assert {await pool.execute("pid", key=number) for number in range(20)} == pids
            bad: Any
            for bad in (1.5, {"a": 1}, [None]):
                with pytest.raises(TypeError, match="a key is"):
                    await pool.execute("pid", key=bad)
            bad = "high"
            with pytest.raises(TypeError, match="priority is"):
                await pool.execute("pid", priority=bad)
            assert await pool.execute("add", [1, 2]) == 3


async def test_functions_run_only_where_both_sides_allow_it(broker: Broker) -> None:
    """Unpickling runs code, on both sides."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool:
            with pytest.raises(TypeError, match="allow_pickle=True"):
                await pool.run_sync(shout, "hello")
        async with connect_pool(shared(broker), allow_pickle=True) as pool:
            with pytest.raises(TypeError, match="allow_pickle=True"):
                await pool.run_sync(shout, "hello")


async def test_functions_run_as_in_a_pool_of_ones_own(broker: Broker) -> None:
    """Their results, and their exceptions with the remote traceback as a note."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker, PICKLE="1"), allow_pickle=True) as pool:
            assert await pool.run_sync(shout, "hello") == "HELLO"
            with pytest.raises(LookupError, match="nothing here") as caught:
                await pool.run_sync(refuse, "nothing here")
            assert "shared_jobs.py" in "".join(caught.value.__notes__)


async def test_a_map_runs_over_the_daemon(broker: Broker) -> None:
    """Lazily, in order, one bad item alone, with progress."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker, PICKLE="1"), allow_pickle=True) as pool:
            done: list[int] = []
            words = [f"word {number}" for number in range(50)]
            async with pool.map(
                shout, words, progress=lambda finished, total: done.append(finished)
            ) as results:
                assert [each async for each in results] == [word.upper() for word in words]
            assert done[-1] == 50
            async with pool.map(refuse, "ab", outcomes=True) as results:
                assert [str(each.error.args[0]) async for each in results] == ["a", "b"]


async def test_a_cancellation_reaches_the_work(broker: Broker) -> None:
    """Through the daemon; its worker stays, and the caller goes on when the work has ended."""
    trace = broker.folder / "trace"
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool, trio.open_nursery() as nursery:
            pids = {await pool.execute("pid") for _ in range(10)}
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_when, trace, scope)
                await pool.execute("steps", [str(trace)])
            assert scope.cancelled_caught
            assert trace.read_text() == "cleaned up"
            assert {await pool.execute("pid") for _ in range(10)} <= pids | {await pool.execute("pid")}


async def cancel_when(trace: Path, scope: trio.CancelScope) -> None:
    await until(lambda: trace.exists() and trace.read_text() == "began")
    scope.cancel()


async def test_a_client_that_goes_takes_its_work_along(broker: Broker) -> None:
    """What runs for it is cancelled when its connection ends."""
    trace = broker.folder / "trace"
    with trio.fail_after(BOUND):
        stream = await connect_or_spawn(shared(broker))
        told = pack({"method": "steps", "params": [str(trace)]})
        await stream.send_all(encode_request(1, "execute", told))
        await until(lambda: trace.exists() and trace.read_text() == "began")
        await stream.aclose()
        await until(lambda: trace.read_text() == "cleaned up")


async def test_the_callers_deadline_travels_through_the_daemon(broker: Broker) -> None:
    """As a duration, twice."""
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker)) as pool:
            assert 0 < await pool.execute("remaining") <= BOUND
            with trio.CancelScope(shield=True):
                assert await pool.execute("remaining") == float("inf")


async def test_calls_beyond_the_window_wait_on_the_clients_side(broker: Broker) -> None:
    """The daemon never holds more, and all are answered."""
    folder = broker.folder / "notes"
    folder.mkdir()
    with trio.fail_after(BOUND):
        async with connect_pool(shared(broker, WINDOW="1")) as pool, trio.open_nursery() as nursery:
            seen: list[int] = []

            async def call(number: int) -> None:
                seen.append(await pool.execute("note", [str(folder), str(number), 0.001]))

            for number in range(50):
                nursery.start_soon(call, number)
    assert seen == [1] * 50


async def test_a_client_that_breaks_the_window_is_cut_off(broker: Broker) -> None:
    """And nobody else is."""
    with trio.fail_after(BOUND):
        service = shared(broker, WINDOW="2")
        async with connect_pool(service) as pool:
            stream = await connect_or_spawn(service)
            told = pack({"method": "steps", "params": [str(broker.folder / "trace")]})
            await stream.send_all(b"".join(encode_request(number, "execute", told) for number in (1, 2, 3)))
            async for _ in stream:
                continue  # its greeting, and then the end
            await stream.aclose()
            assert await pool.execute("add", [1, 2]) == 3


async def test_nonsense_ends_a_connection_and_no_more(broker: Broker) -> None:
    """A cancellation of nothing, an unknown method, params that are no map; then bytes that are no frame."""
    with trio.fail_after(BOUND):
        service = shared(broker)
        async with connect_pool(service) as pool:
            stream = await connect_or_spawn(service)
            await stream.send_all(
                encode_notify("pool.cancel", {"msgid": 7}) + encode_notify("pool.cancel", None)
            )
            await stream.send_all(
                encode_request(1, "evaluate", pack({})) + encode_request(2, "execute", pack(None))
            )
            await stream.send_all(b"\xff" * 100)
            async for _ in stream:
                continue
            await stream.aclose()
            assert await pool.execute("add", [1, 2]) == 3


async def test_after_the_daemons_death_the_next_call_starts_another(broker: Broker) -> None:
    """What ran there fails, what may run again does, and nothing runs twice unasked."""
    folder = broker.folder / "notes"
    folder.mkdir()
    with trio.fail_after(BOUND):
        service = shared(broker)
        async with connect_pool(service) as pool, trio.open_nursery() as nursery:
            first = await pool.execute("parent")
            errors: list[WorkerDied] = []

            async def lost() -> None:
                with pytest.raises(WorkerDied, match="the daemon of 'shared' ended") as caught:
                    await pool.execute("note", [str(folder), "lost", 60])
                errors.append(caught.value)

            async def again() -> None:
                await pool.execute("note", [str(folder), "again", 0.3], idempotent=True)

            nursery.start_soon(lost)
            nursery.start_soon(again)
            await until(lambda: len(list(folder.iterdir())) >= 2)
            os.kill(first, signal.SIGKILL)
            await gone(first)  # its main thread: another may hold the connection for a moment longer
            assert await pool.execute("parent", idempotent=True) != first
    assert len(errors) == 1
    assert sum(each.name.startswith("ran again") for each in folder.iterdir()) == 1
    assert not any(each.name.startswith("ran lost") for each in folder.iterdir())


async def test_programs_share_it_while_the_daemon_is_killed(broker: Broker) -> None:
    """Each call of each program has one outcome, and they all go on with the next daemon."""
    path = os.pathsep.join(map(str, (ROOT, HERE)))
    command = [sys.executable, str(HERE / "sharing_program.py"), str(broker.folder)]
    with trio.fail_after(2 * BOUND):
        programs = [
            subprocess.Popen(
                [*command, str(number), "3"], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
            )
            for number in range(PROGRAMS)
        ]
        try:
            async with connect_pool(shared(broker)) as pool:
                for _ in range(3):
                    await trio.sleep(0.7)
                    daemon = await pool.execute("parent", idempotent=True)
                    os.kill(daemon, signal.SIGKILL)
                    await gone(daemon)
            told = [
                json.loads((await trio.to_thread.run_sync(program.communicate))[0]) for program in programs
            ]
        finally:
            for program in programs:
                program.kill()
                program.wait()
                assert program.stdout is not None
                program.stdout.close()
    for each in told:
        assert each["asked"] == each["answered"] + each["failed"]
        assert each["wrong"] == 0
        assert each["answered"] > each["failed"]
    assert len({daemon for each in told for daemon in each["daemons"]}) >= 2

"""The faulty runtime does what its script says, and a pool over it keeps its promises; all under a mocked clock."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trio_folk import (
    ApplicationError,
    BootFailed,
    BootTimeout,
    ExecTimeout,
    PoolConfig,
    ProtocolError,
    QueueTimeout,
    WorkerDied,
    open_pool,
)
from trio_folk.abc import Birth, Ladder, NotStarted, Rung, WorkerExit, WorkerHandle, WorkerId
from trio_folk.testing import Fault, FaultyRuntime, Script, assert_nothing_left

KILLED = WorkerExit(signal="SIGKILL")
ONE = PoolConfig(slots=1, min_uptime=0)
DAY = 86400.0


def birth(number: int = 1) -> Birth:
    return Birth(WorkerId("test", 0, number), generation=7, ladder=Ladder(1.0, 1.0, 1.0))


@asynccontextmanager
async def started(runtime: FaultyRuntime) -> AsyncIterator[WorkerHandle]:
    """A worker that was launched, which is not ready."""
    async with assert_nothing_left():
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(runtime.spawn, birth())
            yield handle
            nursery.cancel_scope.cancel()
        assert runtime.alive == 0


@asynccontextmanager
async def ready(script: Script) -> AsyncIterator[tuple[FaultyRuntime, WorkerHandle]]:
    runtime = FaultyRuntime([script])
    async with started(runtime) as handle:
        await handle.ready()
        yield runtime, handle


async def echo(runtime: FaultyRuntime, handle: WorkerHandle, what: object = "hello") -> object:
    return await handle.execute(runtime.prepare("echo", what))


# -- boot


async def test_boots_late(autojump_clock: MockClock) -> None:
    """It is ready after so many seconds, and not before."""
    async with started(FaultyRuntime([Script(boot_delay=600)])) as handle:
        begun = trio.current_time()
        await handle.ready()
        assert trio.current_time() - begun == pytest.approx(600)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Script(boot="dies", boot_exit=WorkerExit(code=3)), "exited with status 3 before it was ready"),
        (Script(boot="dies", boot_exit=KILLED), "killed by SIGKILL before it was ready"),
        (Script(boot="refuses"), "the script says that it cannot serve"),
        (Script(boot="garbage"), "MessagePack"),
        (Script(boot="closes_control"), "closed its control channel before it was ready"),
    ],
    ids=lambda value: value.boot if isinstance(value, Script) else "",
)
async def test_boot_fails_in_its_own_way(autojump_clock: MockClock, script: Script, says: str) -> None:
    """`ready` raises BootFailed, and says which way it was."""
    async with started(FaultyRuntime([script])) as handle:
        with pytest.raises(BootFailed, match=says) as caught:
            await handle.ready()
        assert (caught.value.worker, caught.value.generation) == ("test/0.1", 7)


async def test_launch_fails(autojump_clock: MockClock) -> None:
    """The spawn itself raises, and nothing is left."""
    runtime = FaultyRuntime([Script(boot="launch_fails")])
    async with assert_nothing_left():
        with pytest.raises(BootFailed, match="launched") as caught:
            await runtime.spawn(birth())
    assert (caught.value.stage, runtime.spawned, runtime.alive) == ("launch", 1, 0)


async def test_never_ready_is_a_boot_timeout(autojump_clock: MockClock) -> None:
    """The pool gives up after its boot timeout, and takes the next script."""
    runtime = FaultyRuntime([Script(boot="never"), Script()])
    async with assert_nothing_left():
        with pytest.raises(BootTimeout):
            async with open_pool(runtime, config=PoolConfig(slots=1, boot_timeout=DAY)):
                pass
    assert runtime.spawned == 1


# -- calls


async def test_without_fault_it_answers_its_parameters(autojump_clock: MockClock) -> None:
    """Every method does, `sleep` after a while; functions run inline; all of them are recorded."""
    async with ready(Script()) as (runtime, handle):
        begun = trio.current_time()
        assert await echo(runtime, handle, {"a": [1, None]}) == {"a": [1, None]}
        assert await handle.execute(runtime.prepare("shrink", 1)) == 1
        assert await handle.execute(runtime.prepare("sleep", [DAY])) == [DAY]
        assert await handle.execute(runtime.prepare_python(operator.add, (1, 2), {})) == 3
        assert trio.current_time() - begun == pytest.approx(DAY)
    assert [(call.number, call.method, call.params) for call in runtime.calls] == [
        (1, "echo", {"a": [1, None]}),
        (2, "shrink", 1),
        (3, "sleep", [DAY]),
        (4, "add", (1, 2)),
    ]
    assert {call.worker for call in runtime.calls} == {"test/0.1"}


@pytest.mark.parametrize("how", [WorkerExit(code=9), KILLED], ids=str)
async def test_dies_at_its_third_call(autojump_clock: MockClock, how: WorkerExit) -> None:
    """Two calls are answered; the third ends as WorkerDied and tells how."""
    async with ready(Script(at_call={3: Fault.dies(how)})) as (runtime, handle):
        assert [await echo(runtime, handle, n) for n in (1, 2)] == [1, 2]
        with pytest.raises(WorkerDied, match=str(how)) as caught:
            await echo(runtime, handle)
        assert (caught.value.exit_code, caught.value.signal) == (how.code, how.signal)
        await handle.ended.wait()
        assert (handle.exit, handle.planned) == (how, False)


async def test_dies_before_it_has_read_its_call(autojump_clock: MockClock) -> None:
    """The call provably never started, so it ends as NotStarted."""
    async with ready(Script(at_call={2: Fault.dies(unread=True)})) as (runtime, handle):
        await echo(runtime, handle)
        with pytest.raises(NotStarted):
            await echo(runtime, handle)
    assert len(runtime.calls) == 1


async def test_dies_right_after_it_is_ready(autojump_clock: MockClock) -> None:
    """Idle, without having been asked anything."""
    async with ready(Script(after_ready={0: Fault.dies(KILLED)})) as (_, handle):
        await handle.ended.wait()
        assert (handle.exit, handle.planned) == (KILLED, False)


async def test_hangs_until_it_is_told_to_end(autojump_clock: MockClock) -> None:
    """The end of file does not end it while it hangs; SIGTERM does."""
    async with ready(Script(at_call={1: Fault.hangs()})) as (runtime, handle):
        with trio.move_on_after(DAY) as scope:
            await echo(runtime, handle)
        assert scope.cancelled_caught
        await handle.ended.wait()
        assert handle.exit == WorkerExit(signal="SIGTERM")


async def test_answers_late(autojump_clock: MockClock) -> None:
    """Who waits long enough gets the answer."""
    async with ready(Script(at_call={1: Fault.answers_late(DAY)})) as (runtime, handle):
        begun = trio.current_time()
        assert await echo(runtime, handle) == "hello"
        assert trio.current_time() - begun == pytest.approx(DAY)


async def test_a_call_that_fails_leaves_its_worker_unharmed(autojump_clock: MockClock) -> None:
    """An ApplicationError, and the next call is answered."""
    async with ready(Script(at_call={1: Fault.fails()})) as (runtime, handle):
        with pytest.raises(ApplicationError) as caught:
            await echo(runtime, handle)
        assert caught.value.code == -32603
        assert await echo(runtime, handle) == "hello"


@pytest.mark.parametrize("seconds", [0, 5])
async def test_a_second_answer_ends_the_worker(autojump_clock: MockClock, seconds: float) -> None:
    """The first is taken; the second belongs to nobody."""
    async with ready(Script(at_call={1: Fault.answers_twice(seconds)})) as (runtime, handle):
        assert await echo(runtime, handle, "mine") == "mine"
        await trio.sleep(10)
        with pytest.raises(NotStarted):
            await echo(runtime, handle, "next")
        assert handle.reason is not None
        assert "protocol" in handle.reason


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.garbage(), "MessagePack"),
        (Fault.oversize(), "limit"),
        (Fault.wrong_msgid(), "nobody waits for"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
async def test_nonsense_ends_the_call_and_the_worker(
    autojump_clock: MockClock, fault: Fault, says: str
) -> None:
    """The call ends as ProtocolError, and the worker is ended for it."""
    async with ready(Script(at_call={1: fault})) as (runtime, handle):
        with pytest.raises(ProtocolError, match=says):
            await echo(runtime, handle)
        await handle.ended.wait()
        assert handle.exit == WorkerExit(signal="SIGTERM")


async def test_half_an_answer_is_a_death(autojump_clock: MockClock) -> None:
    """Half of the frame came, then the worker ended."""
    async with ready(Script(at_call={1: Fault.truncates(KILLED)})) as (runtime, handle):
        with pytest.raises(WorkerDied) as caught:
            await echo(runtime, handle)
        assert caught.value.signal == "SIGKILL"


async def test_closes_only_its_task_channel(autojump_clock: MockClock) -> None:
    """The call cannot be answered; the worker does not end until it is told to."""
    async with ready(Script(at_call={1: Fault.closes_task()})) as (runtime, handle):
        with pytest.raises(WorkerDied, match="closed its task channel"):
            await echo(runtime, handle)
        await handle.ended.wait()
        assert handle.exit == WorkerExit(signal="SIGTERM")


@pytest.mark.parametrize("busy", [False, True])
async def test_closes_only_its_control_channel(autojump_clock: MockClock, busy: bool) -> None:
    """It still answers what it has, but takes no further call."""
    fault = Fault.closes_control()
    script = Script(at_call={1: fault}) if busy else Script(after_ready={1: fault})
    async with ready(script) as (runtime, handle):
        if busy:
            assert await echo(runtime, handle) == "hello"
        await handle.condemned.wait()
        assert handle.reason == "it closed its control channel"


async def test_runs_as_many_calls_as_it_announces(autojump_clock: MockClock) -> None:
    """Two at once are answered in the time of one."""
    async with ready(Script(concurrency=2)) as (runtime, handle):
        assert handle.concurrency == 2
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(handle.execute, runtime.prepare("sleep", [DAY]))
        assert trio.current_time() - begun == pytest.approx(DAY)


# -- the ladder


@pytest.mark.parametrize(
    ("ignores", "seconds", "how"),
    [
        ((), 0, WorkerExit(code=0)),
        ((Rung.STOP,), 1, WorkerExit(signal="SIGTERM")),
        ((Rung.STOP, Rung.TERMINATE), 2, KILLED),
        (tuple(Rung), 3, None),
    ],
)
async def test_ignores_rungs(
    autojump_clock: MockClock, ignores: tuple[Rung, ...], seconds: float, how: WorkerExit | None
) -> None:
    """Each ignored rung costs its own time; one that ignores all of them is given up."""
    async with ready(Script(ignores=frozenset(ignores))) as (_, handle):
        begun = trio.current_time()
        handle.terminate("enough", Rung.STOP)
        await handle.ended.wait()
        # the last breath of output is waited for as well, a quarter of a second at most
        assert seconds <= trio.current_time() - begun < seconds + 0.5
        assert handle.exit == how
        assert str(how or "given up") in repr(handle)


# -- scripts


async def test_scripts_are_taken_in_turn_and_then_the_last(autojump_clock: MockClock) -> None:
    """The first worker's, the second's, then the same for ever."""
    runtime = FaultyRuntime([Script(boot="dies"), Script(boot="refuses")], then=Script(boot="launch_fails"))
    says = []
    for number in range(1, 5):
        with pytest.raises(BootFailed) as caught:
            async with open_pool(runtime, config=ONE):
                pytest.fail("the pool opened")
        says.append(caught.value.message.split()[-1])
        assert runtime.spawned == number
    assert says == ["ready", "serve", "launched", "launched"]


async def test_a_function_may_write_the_scripts(autojump_clock: MockClock) -> None:
    """By slot, for instance: one of four cannot boot, and no call waits for it."""
    runtime = FaultyRuntime(lambda birth: Script(boot="dies" if birth.id.slot == 2 else "ready"))
    async with open_pool(runtime, slots=4) as pool:
        for number in range(500):
            assert await pool.execute("echo", number) == number
    assert {call.worker.split("/")[1][0] for call in runtime.calls} <= {"0", "1", "3"}


def test_a_script_that_makes_no_sense_is_refused() -> None:
    """A fault that needs a call cannot happen without one; calls are counted from 1."""
    with pytest.raises(ValueError, match="boot is one of"):
        Script(boot="sideways")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from 1"):
        Script(at_call={0: Fault.hangs()})
    for fault in (Fault.hangs(), Fault.answers_twice(), Fault.dies(unread=True)):
        with pytest.raises(ValueError, match="needs a call"):
            Script(after_ready={1: fault})


# -- pools


async def test_a_withdrawn_call_never_ran(autojump_clock: MockClock) -> None:
    """Its queue timeout took it back; the worker never saw it."""
    runtime = FaultyRuntime()
    async with open_pool(runtime, config=ONE) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.execute, "sleep", [DAY])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(QueueTimeout):
            await pool.execute("echo", "withdrawn", queue_timeout=10)
        nursery.cancel_scope.cancel()
    assert [call.method for call in runtime.calls] == ["sleep"]


async def test_a_late_answer_never_reaches_the_next_caller(autojump_clock: MockClock) -> None:
    """The worker answers after the timeout and ignores SIGTERM; its answer is never read."""
    late = Script(at_call={1: Fault.answers_late(5)}, ignores=frozenset({Rung.STOP, Rung.TERMINATE}))
    runtime = FaultyRuntime([late])
    config = PoolConfig(slots=1, min_uptime=0, terminate_grace=20)
    async with open_pool(runtime, config=config) as pool:
        with pytest.raises(ExecTimeout):
            await pool.execute("echo", "old", exec_timeout=1)
        for number in range(10):
            assert await pool.execute("echo", number) == number
            await trio.sleep(1)
    assert runtime.spawned == 2


async def test_a_call_that_was_not_read_runs_elsewhere_once(autojump_clock: MockClock) -> None:
    """Its worker died with the call unread: the caller sees its value and nothing else."""
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies(unread=True)})])
    async with open_pool(runtime, config=ONE, name="p") as pool:
        assert await pool.execute("echo", "once") == "once"
    assert [call.worker for call in runtime.calls] == ["p/0.2"]

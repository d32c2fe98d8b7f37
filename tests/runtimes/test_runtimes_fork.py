"""ForkRuntime beyond the contract: zygotes that die, hang, lie, are recycled and replaced; what a fork may not copy."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_folk import BootFailed, BootTimeout, ForkRuntime
from trio_folk.abc import Birth, Ladder, Rung, WorkerExit, WorkerHandle, WorkerId
from trio_folk.runtimes import _requests
from trio_folk.testing import assert_nothing_left

BOUND = 60.0
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TARGET = "fork_jobs:worker"
ENV = {"PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}


def runtime(target: str | None = TARGET, **settings: Any) -> ForkRuntime:
    return ForkRuntime(target, env={**ENV, **settings.pop("env", {})}, **settings)


def master(how: str, **settings: Any) -> ForkRuntime:
    """A runtime whose master misbehaves in this way."""
    env = {**ENV, "MASTER": how}
    return ForkRuntime.php(HERE / "fake_master.py", php=sys.executable, env=env, **settings)


class Home:
    """Where a test's workers live."""

    def __init__(self, forks: ForkRuntime, nursery: trio.Nursery) -> None:
        self.forks = forks
        self.nursery = nursery
        self.born = 0

    async def spawn(self, generation: int = 0) -> WorkerHandle:
        """A worker that is ready."""
        self.born += 1
        birth = Birth(WorkerId("forks", 0, self.born), generation, Ladder(5, 5, 5))
        handle: WorkerHandle = await self.nursery.start(self.forks.spawn, birth)
        await handle.ready()
        return handle

    async def call(self, handle: WorkerHandle, method: str, params: Any = None) -> Any:
        return await handle.execute(self.forks.prepare(method, params))

    async def about(self, handle: WorkerHandle) -> dict[str, Any]:
        found: dict[str, Any] = await self.call(handle, "about")
        return found

    async def end(self, handle: WorkerHandle, rung: Rung = Rung.STOP) -> None:
        handle.terminate("the test wants it", rung)
        await handle.ended.wait()


@asynccontextmanager
async def home(forks: ForkRuntime) -> AsyncIterator[Home]:
    """The runtime runs; with the block all of it ends, and nothing may be left. Errors leave it bare."""
    error: BaseException | None = None
    async with assert_nothing_left():
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as outer:
                await outer.start(forks.run)
                async with trio.open_nursery() as nursery:
                    try:
                        yield Home(forks, nursery)
                    except Exception as raised:
                        error = raised
                    nursery.cancel_scope.cancel()
                outer.cancel_scope.cancel()
    if error is not None:
        raise error


async def wait_until(true: Callable[[], bool]) -> None:
    while not true():
        await trio.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether there is such a process, other than as a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# -- what a fork may not copy


async def test_a_forked_worker_has_its_own_five_descriptors() -> None:
    """Standard streams and its channels; nothing of the zygote, nor of the worker forked before it."""
    async with home(runtime()) as here:
        first, second = await here.spawn(), await here.spawn()
        for handle in (first, second):
            assert (await here.about(handle))["descriptors"] == [0, 1, 2, 3, 4]


async def test_a_forked_worker_is_a_worker_like_any_other() -> None:
    """It leads its own group, blocks no signal, has run the hooks, and no variable of ours is left."""
    async with home(runtime()) as here:
        handle = await here.spawn()
        about = await here.about(handle)
        assert about["pid"] == about["group"] == handle.pid
        assert (about["mask"], about["folk"]) == ([], [])
        assert about["at_fork"] == ["child"]


async def test_the_zygote_keeps_nothing_of_its_workers() -> None:
    """However many it has forked: an end of file must be seen (Folk's master keeps two descriptors each)."""
    async with home(runtime()) as here:
        keeper = await here.spawn()
        zygote = (await here.about(keeper))["zygote"]
        before = open_descriptors(zygote)
        for _ in range(5):
            await here.end(await here.spawn())
        assert open_descriptors(zygote) == before


async def test_workers_draw_different_numbers() -> None:
    """Generators that were seeded at import are seeded again in each worker."""
    if find_spec("numpy") is None:  # not by importing it: its own threads would stay here
        pytest.skip("numpy is not installed")
    async with home(runtime(preload=["numpy.random"], env={"OPENBLAS_NUM_THREADS": "1"})) as here:
        drawn = [await here.call(await here.spawn(), "draw") for _ in range(3)]
        assert len({each for one in drawn for each in one}) == 6


async def test_output_is_logged_under_the_workers_own_id(caplog: pytest.LogCaptureFixture) -> None:
    """As if it had been launched; and its last lines are its own."""
    caplog.set_level(logging.INFO, "trio_folk.worker")
    async with home(runtime()) as here:
        one, two = await here.spawn(), await here.spawn()
        await here.call(one, "say", "from one")
        await here.call(two, "say", "from two")
        await here.end(one)
        await here.end(two)
        assert (one.stderr, two.stderr) == (("from one",), ("from two",))
    assert "[forks/0.1 stdout] from one" in caplog.messages
    assert "[forks/0.2 stdout] from two" in caplog.messages


# -- threads


async def test_a_forked_worker_keeps_what_its_interpreter_promised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves without tidying its memory, but not without its threads, its exit handlers and its last output."""
    caplog.set_level(logging.INFO, "trio_folk")
    file = tmp_path / "noted"
    async with home(runtime()) as here:
        worker = await here.spawn()
        await here.call(worker, "leave_things_to_the_end", [str(file)])
        await here.end(worker)
    assert worker.exit == WorkerExit(code=0)
    assert file.read_text().split("\n") == ["thread", "exit handler", ""]
    assert "half a line" in caplog.text


async def test_a_thread_started_at_import_is_a_failed_boot_that_names_it(tmp_path: Path) -> None:
    """A fork would copy its locks and not the thread; unless somebody knows better."""
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(3600,), name='heartbeat', daemon=True).start()\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    async with home(runtime(preload=["threaded"], env=env)) as here:
        with pytest.raises(BootFailed, match="'heartbeat'"):
            await here.spawn()
    async with home(runtime(preload=["threaded"], env=env, allow_threads=True)) as here:
        assert (await here.about(await here.spawn()))["descriptors"] == [0, 1, 2, 3, 4]


async def test_a_thread_that_comes_later_is_a_refusal_and_a_new_zygote() -> None:
    """The threads are counted at every fork; the next spawn has a zygote without them."""
    async with home(runtime()) as here:
        zygote = (await here.about(await here.spawn()))["zygote"]
        os.kill(zygote, signal.SIGUSR1)
        await wait_until(lambda: len(os.listdir(f"/proc/{zygote}/task")) == 2)
        with pytest.raises(BootFailed, match="'latecomer'"):
            await here.spawn()
        assert (await here.about(await here.spawn()))["zygote"] != zygote


# -- boots that fail


async def test_an_import_that_fails_is_told_with_its_traceback(tmp_path: Path) -> None:
    """To each who waited, under the name of his worker; a preloaded module as well as the target."""
    (tmp_path / "broken.py").write_text("raise ValueError('no such luck')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    for settings in ({"target": "broken:worker"}, {"preload": ["broken"]}):
        async with home(runtime(env=env, **settings)) as here:
            with pytest.raises(BootFailed, match="no such luck") as caught:
                await here.spawn()
            assert "broken.py" in str(caught.value.remote_traceback)
            assert (caught.value.worker, caught.value.generation) == ("forks/0.1", 0)


async def test_a_zygote_that_dies_at_import_is_told_with_its_status_and_last_lines(tmp_path: Path) -> None:
    """As of a worker that dies before it is ready."""
    (tmp_path / "dying.py").write_text("import os, sys\nprint('farewell', file=sys.stderr)\nos._exit(7)\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    async with home(runtime("dying:worker", env=env)) as here:
        with pytest.raises(BootFailed) as caught:
            await here.spawn()
        assert (caught.value.exit_code, caught.value.stderr) == (7, ("farewell",))


async def test_an_import_without_end_is_a_boot_timeout(tmp_path: Path) -> None:
    """And it ends sooner if nobody waits for it any more."""
    (tmp_path / "endless.py").write_text("while True: pass\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    async with home(runtime("endless:worker", env=env, boot_timeout=0.3)) as here:
        with pytest.raises(BootTimeout):
            await here.spawn()
    async with home(runtime("endless:worker", env=env)) as here:
        with trio.move_on_after(0.3) as scope:
            await here.spawn()
        assert scope.cancelled_caught
        await wait_until(lambda: not children_named("endless"))


def children_named(text: str) -> list[int]:
    """Our children whose command line has this in it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            folder = Path("/proc", name)
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and text in (folder / "cmdline").read_text():
                found.append(int(name))
    return found


async def test_nothing_is_forked_where_the_runtime_does_not_run() -> None:
    """Said in a sentence that names the remedy."""
    with pytest.raises(RuntimeError, match=re.escape("nursery.start(runtime.run)")):
        await runtime().spawn(Birth(WorkerId("forks", 0, 1)))


# -- zygotes come and go


async def test_the_zygotes_death_costs_no_worker() -> None:
    """They go on and answer, their ends are noticed, and the next spawn has a new zygote."""
    async with home(runtime()) as here:
        handles = [await here.spawn() for _ in range(3)]
        zygote = (await here.about(handles[0]))["zygote"]
        os.kill(zygote, signal.SIGKILL)
        await wait_until(lambda: not lives(zygote))
        fresh = await here.spawn()
        assert (await here.about(fresh))["zygote"] != zygote
        for handle in handles:
            assert await here.call(handle, "echo", 1) == 1
            await here.end(handle)
            assert handle.exit is not None
            assert handle.exit == WorkerExit(code=0) or handle.exit.detail


async def test_workers_survive_zygotes_that_are_killed_again_and_again() -> None:
    """Every spawn succeeds or says that it failed; none hangs, and no worker is another's."""
    async with home(runtime()) as here:
        pids = set()
        for _ in range(10):
            handle = await here.spawn()
            about = await here.about(handle)
            assert about["pid"] == handle.pid
            pids.add(handle.pid)
            os.kill(about["zygote"], signal.SIGKILL)
            with suppress(BootFailed):  # it died in this very request
                pids.add((await here.spawn()).pid)
        assert len(pids) >= 10


async def test_after_so_many_forks_a_new_zygote_takes_over() -> None:
    """The old one lives until its last worker has ended, because it is to reap it."""
    async with home(runtime(forks_per_zygote=2)) as here:
        handles = [await here.spawn() for _ in range(3)]
        zygotes = [(await here.about(handle))["zygote"] for handle in handles]
        assert zygotes[0] == zygotes[1] != zygotes[2]
        await here.end(handles[0])
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert lives(zygotes[0])
        await here.end(handles[1])
        await wait_until(lambda: not lives(zygotes[0]))
        assert [handle.exit for handle in handles[:2]] == [WorkerExit(code=0)] * 2
        assert lives(zygotes[2])


async def test_each_generation_has_its_own_code(tmp_path: Path) -> None:
    """A newer one reads the disk; the older is still forked from until it is forgotten."""
    source = tmp_path / "versioned.py"
    text = (
        "from trio_folk.worker import Worker\nworker = Worker()\n@worker.method\ndef version(): return {}\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]]), "PYTHONDONTWRITEBYTECODE": "1"}
    source.write_text(text.format(1))
    async with home(runtime("versioned:worker", env=env)) as here:
        old = await here.spawn(0)
        source.write_text(text.format(2))
        new, reborn = await here.spawn(1), await here.spawn(0)
        assert [await here.call(each, "version") for each in (old, new, reborn)] == [1, 2, 1]
        here.forks.forget(1)
        assert await here.call(old, "version") == 1
        zygotes = {Path(f"/proc/{each.pid}/stat").read_text().split()[3] for each in (old, reborn)}
        assert len(zygotes) == 1
        await here.end(old)
        await here.end(reborn)
        await wait_until(lambda: not lives(int(zygotes.pop())) if zygotes else True)
        assert await here.call(new, "version") == 2


# -- groups


@pytest.mark.parametrize("how", ["stopped", "left", "killed"])
async def test_what_a_worker_started_ends_with_it(how: str) -> None:
    """However it ends: the zygote signals the group before it reaps, and so does the parent."""
    async with home(runtime()) as here:
        handle = await here.spawn()
        pid = await here.call(handle, "child")
        assert lives(pid)
        if how == "stopped":
            handle.terminate("enough")
        elif how == "left":
            with pytest.raises(Exception, match="exited with status 3"):
                await here.call(handle, "leave", 3)
        else:
            assert handle.pid is not None
            os.kill(handle.pid, signal.SIGKILL)
        await handle.ended.wait()
        await wait_until(lambda: not lives(pid))


ORPHAN = """
import sys, trio
from trio_folk import ForkRuntime
from trio_folk.abc import Birth, WorkerId

async def main():
    runtime = ForkRuntime({target!r})
    async with trio.open_nursery() as nursery:
        await nursery.start(runtime.run)
        if {endless}:
            nursery.start_soon(runtime.spawn, Birth(WorkerId("o", 0, 1)))
            print("[]", flush=True)
            await trio.sleep_forever()
        handles = [await nursery.start(runtime.spawn, Birth(WorkerId("o", n, 1))) for n in range(2)]
        for handle in handles:
            await handle.ready()
        about = await handles[0].execute(runtime.prepare("about", None))
        child = await handles[0].execute(runtime.prepare("child", None))
        print([about["zygote"], child, *(handle.pid for handle in handles)], flush=True)
        await handles[0].execute(runtime.prepare("spin", None))

trio.run(main)
"""


@pytest.mark.parametrize("target", [TARGET, "endless:worker"])
async def test_a_killed_parent_leaves_nothing(target: str, tmp_path: Path) -> None:
    """Zygote, busy workers and what they started; also while the zygote still imports."""
    (tmp_path / "endless.py").write_text(
        "import os, pathlib\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
        "while True: pass\n"
    )
    endless = target != TARGET
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), ENV["PYTHONPATH"]])}
    script = ORPHAN.format(target=target, endless=endless)
    with subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(each) for each in re.findall(r"\d+", parent.stdout.readline().decode())]
        with trio.fail_after(BOUND):
            if endless:
                told = tmp_path / "pid"
                await wait_until(lambda: told.exists() and bool(told.read_text()))
                pids.append(int(told.read_text()))
            assert all(lives(pid) for pid in pids)
            assert len(pids) == (1 if endless else 4)
            if not endless:
                os.kill(pids[-1], signal.SIGSTOP)  # it cannot end itself any more: the zygote does
            parent.kill()
            parent.wait()
            for pid in pids:
                await wait_until(lambda pid=pid: not lives(pid))  # type: ignore[misc]


# -- several requests at once


async def spawn_several(here: Home, count: int) -> list[WorkerHandle | BootFailed]:
    """Births that begin together, and what became of each."""
    ends: list[WorkerHandle | BootFailed] = []

    async def one() -> None:
        try:
            ends.append(await here.spawn())
        except BootFailed as error:
            ends.append(error)

    async with trio.open_nursery() as births:
        for _ in range(count):
            births.start_soon(one)
    return ends


async def test_workers_born_together_have_their_own_pids_and_nothing_of_each_other() -> None:
    """More than may be asked for at once: answers find their requests, and no descriptor its neighbour's worker."""
    async with home(runtime()) as here:
        handles = await spawn_several(here, _requests.AHEAD + 4)
        zygotes = set()
        for handle in handles:
            assert not isinstance(handle, BootFailed)
            about = await here.about(handle)
            assert (about["pid"], about["descriptors"]) == (handle.pid, [0, 1, 2, 3, 4])
            zygotes.add(about["zygote"])
        assert len(zygotes) == 1
        assert open_descriptors(zygotes.pop()) == 5 + len(handles)  # and a pidfd each


async def test_each_who_waits_is_told_when_the_zygote_dies() -> None:
    """All requests of a zygote that was stopped, then killed; the next worker comes from another."""
    async with home(runtime()) as here:
        zygote = (await here.about(await here.spawn()))["zygote"]
        os.kill(zygote, signal.SIGSTOP)
        ends: list[WorkerHandle | BootFailed] = []
        async with trio.open_nursery() as nursery:

            async def several() -> None:
                ends.extend(await spawn_several(here, 3))

            nursery.start_soon(several)
            await trio.testing.wait_all_tasks_blocked(0.05)
            os.kill(zygote, signal.SIGKILL)
        assert [str(each.message) for each in ends if isinstance(each, BootFailed)] == [
            "no worker was forked: the zygote was killed by SIGKILL"
        ] * 3
        assert (await here.about(await here.spawn()))["zygote"] != zygote


async def test_a_request_cancelled_among_others_costs_only_itself() -> None:
    """Its answer is still taken, so that the others get theirs."""
    async with home(runtime()) as here:
        zygote = (await here.about(await here.spawn()))["zygote"]
        os.kill(zygote, signal.SIGSTOP)
        handles: list[WorkerHandle] = []

        async def one(scope: trio.CancelScope) -> None:
            with scope:
                handles.append(await here.spawn())

        scopes = [trio.CancelScope() for _ in range(3)]
        async with trio.open_nursery() as births:
            for scope in scopes:
                births.start_soon(one, scope)
            await trio.testing.wait_all_tasks_blocked(0.05)
            scopes[1].cancel()
            await trio.testing.wait_all_tasks_blocked(0.05)
            os.kill(zygote, signal.SIGCONT)
        assert len(handles) == 2
        for handle in handles:
            about = await here.about(handle)
            assert (about["pid"], about["zygote"]) == (handle.pid, zygote)


async def test_a_base_master_is_asked_for_one_worker_at_a_time() -> None:
    """It did not say that it takes more: this one ends at a second request before its answer."""
    async with home(master("one by one")) as here:
        handles = await spawn_several(here, 4)
        assert not any(isinstance(each, BootFailed) for each in handles)


# -- masters that do not do what they should


async def test_a_request_without_an_answer_costs_the_master_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer, if it still came, would be taken for the next worker's."""
    monkeypatch.setattr(_requests, "FORK_TIMEOUT", 0.2)
    async with home(master("silent")) as here:
        for _ in range(2):
            with pytest.raises(BootFailed, match="did not answer a request in time"):
                await here.spawn()


async def test_a_cancelled_request_without_an_answer_costs_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped zygote holds up nobody who does not want it any more."""
    monkeypatch.setattr(_requests, "CANCELLED_TIMEOUT", 0.1)
    async with home(runtime()) as here:
        zygote = (await here.about(await here.spawn()))["zygote"]
        os.kill(zygote, signal.SIGSTOP)
        began = time.monotonic()
        with trio.move_on_after(0.1) as scope:
            await here.spawn()
        assert scope.cancelled_caught
        assert time.monotonic() - began < _requests.FORK_TIMEOUT
        await wait_until(lambda: not lives(zygote))
        assert (await here.about(await here.spawn()))["zygote"] != zygote


async def test_a_cancelled_request_that_is_answered_leaves_no_worker() -> None:
    """Nor does it put the zygote out of step."""
    async with home(runtime()) as here:
        keeper = await here.spawn()
        for _ in range(5):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(here.spawn)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        handle = await here.spawn()
        assert (await here.about(handle))["pid"] == handle.pid
        assert await here.call(keeper, "echo", 1) == 1


@pytest.mark.parametrize("how", ["stranger", "nonsense"])
async def test_a_pid_that_is_not_the_masters_child_is_never_adopted(how: str) -> None:
    """It may be anybody's: here our own."""
    async with home(master(how)) as here:
        with pytest.raises(BootFailed, match="cannot be watched"):
            await here.spawn()


async def test_an_answer_too_many_ends_the_master_and_no_worker() -> None:
    """An answer that is left over would be the next worker's."""
    async with home(master("twice")) as here:
        first = await here.spawn()
        with suppress(BootFailed):  # if the second answer comes while another is waited for
            second = await here.spawn()
            assert first.pid != second.pid
        assert not first.condemned.is_set()
        await here.end(first)
        assert first.exit is not None


@pytest.mark.parametrize(
    ("how", "said"), [("a worker", "must be control.fork-ready"), ("mute", "not ready within")]
)
async def test_a_program_that_is_no_master_is_a_failed_boot(how: str, said: str) -> None:
    """A worker's script in place of a master's, or one that says nothing."""
    async with home(master(how, boot_timeout=1)) as here:
        with pytest.raises((BootFailed, BootTimeout), match=said):
            await here.spawn()


# -- settings


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"target": "no colon"}, ValueError),
        ({"env": {"A=B": "c"}}, ValueError),
        ({"preload": "numpy"}, TypeError),
        ({"preload": ["not a module"]}, ValueError),
        ({"forks_per_zygote": 0}, ValueError),
        ({"boot_timeout": 0}, ValueError),
        ({"max_frame": 10}, ValueError),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """Where they are written, not at the first boot."""
    with pytest.raises(error):
        ForkRuntime(**settings)

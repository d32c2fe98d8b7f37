"""Workers that cannot be brought to life: an error at once where that is known, in time where it is not."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
import trio

from trio_folk import BootFailed, BootTimeout, CrashLoop, SpawnBudget, WorkerDied, open_pool
from trio_folk._pool import PoolConfig, SlotState
from trio_folk.runtimes import PipeRuntime

ZOO = str(Path(__file__).with_name("zoo.py"))
ROOT = str(Path(__file__).parents[2])
CONFIG = PoolConfig(slots=2, terminate_grace=0.5, boot_timeout=20)
BOUND = 60


def animal(name: str) -> PipeRuntime:
    return PipeRuntime([sys.executable, ZOO, name], env={"PYTHONPATH": ROOT})


async def boots(runtime: PipeRuntime, config: PoolConfig = CONFIG) -> None:
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=config, name="zoo"):
            pytest.fail("the pool opened")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dies_at_boot", "exited with status 3 before it was ready"),
        ("killed_at_boot", "killed by SIGKILL before it was ready"),
        ("garbage_instead_of_ready", "frame|limit"),
        ("request_instead_of_ready", "must be control.ready, not"),
        ("absurd_concurrency", "concurrency of -1"),
        ("closes_control_at_boot", "control channel"),
    ],
)
async def test_a_boot_that_cannot_succeed_fails_long_before_its_timeout(name: str, says: str) -> None:
    """The error is BootFailed, and says why."""
    with pytest.raises(BootFailed, match=says) as caught:
        await boots(animal(name))
    assert str(caught.value.worker).startswith("zoo/")
    assert caught.value.pid
    assert caught.value.stage == "boot"


async def test_the_last_words_of_a_worker_are_in_the_error() -> None:
    """What it wrote to stderr says more than its status."""
    with pytest.raises(BootFailed) as caught:
        await boots(animal("dies_at_boot"))
    assert caught.value.stderr == ("cannot open the database",)
    assert "cannot open the database" in str(caught.value)


async def test_a_worker_that_never_becomes_ready_is_ended_in_time() -> None:
    """BootTimeout, with what it had said until then."""
    config = PoolConfig(slots=1, terminate_grace=0.5, boot_timeout=1)
    with pytest.raises(BootTimeout, match="not ready within 1 s") as caught:
        await boots(animal("never_ready"), config)
    assert caught.value.stderr == ("I shall never be ready",)
    assert "boot_timeout" in str(caught.value)


async def test_a_program_that_does_not_exist_is_named() -> None:
    """With what was probably meant."""
    with pytest.raises(BootFailed, match="pyhton3-no-such-thing") as caught:
        await boots(PipeRuntime(["pyhton3-no-such-thing"]))
    assert caught.value.stage == "launch"
    assert caught.value.worker


async def test_a_program_that_is_not_executable_is_named(tmp_path: Path) -> None:
    """And the remedy is in the hint."""
    script = tmp_path / "worker"
    script.write_text("#!/bin/sh\n")
    script.chmod(stat.S_IRUSR)
    with pytest.raises(BootFailed) as caught:
        await boots(PipeRuntime([str(script)]))
    assert str(script) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("trio_folk.testing.contract_wroker:worker", "contract_worker"),
        ("trio_folk.testing.contract_worker:wroker", "worker"),
        ("no_such_module_anywhere:worker", "no_such_module_anywhere"),
    ],
)
async def test_a_target_that_does_not_exist_fails_at_once_with_a_near_miss(target: str, says: str) -> None:
    """Not as a boot timeout, in the child's own words."""
    with pytest.raises(BootFailed, match=says) as caught:
        await boots(PipeRuntime.python(target))
    assert caught.value.stage == "boot"


async def test_the_traceback_of_a_broken_target_arrives(tmp_path: Path) -> None:
    """The import's own error, with its line."""
    (tmp_path / "broken_target.py").write_text("def f(:\n")
    runtime = PipeRuntime.python("broken_target:worker", env={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(BootFailed, match="SyntaxError") as caught:
        await boots(runtime)
    assert "broken_target.py" in str(caught.value)


@pytest.mark.parametrize("target", ["module", "module:", ":object", "a:b:c", ""])
def test_a_target_that_is_not_one_is_refused_where_it_is_written(target: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="module:object"):
        PipeRuntime.python(target)


def test_a_command_line_that_is_a_string_is_refused_where_it_is_written() -> None:
    """It would be taken apart by letters."""
    with pytest.raises(TypeError, match="list of the program and its arguments"):
        PipeRuntime("php worker.php")


async def test_one_slot_that_cannot_boot_takes_no_calls(tmp_path: Path) -> None:
    """One of four: 500 calls are all answered by the others."""
    script = tmp_path / "sometimes.py"
    script.write_text(
        f"import os, sys\nsys.path[:0] = [{ROOT!r}, {str(Path(ZOO).parent)!r}]\n"
        f"try:\n    os.mkdir({str(tmp_path / 'taken')!r})\n    sys.exit(5)\nexcept FileExistsError:\n    pass\n"
        "if os.environ.get('NEVER'): sys.exit(5)\nimport zoo; zoo.animal()\n"
    )
    runtime = PipeRuntime([sys.executable, str(script)])
    with trio.fail_after(BOUND):
        async with open_pool(runtime, slots=4) as pool, trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(pool.execute, "echo", number)
        assert pool.statistics().succeeded == 500
        assert pool.statistics().boot_failures >= 1


def breakable(path: Path) -> PipeRuntime:
    """A worker whose program can be rewritten; it works at first."""
    path.write_text(
        f"import sys\nsys.path[:0] = [{ROOT!r}, {str(Path(ZOO).parent)!r}]\nimport zoo\nzoo.animal()\n"
    )
    return PipeRuntime([sys.executable, str(path)])


BREAK = "import sys\nprint('half deployed', file=sys.stderr)\nsys.exit(1)\n"


async def test_a_program_that_breaks_under_an_open_pool_ends_it_by_name(tmp_path: Path) -> None:
    """N attempts, then one CrashLoop with the stage and the last lines of stderr."""
    runtime = breakable(tmp_path / "breaks.py")
    config = PoolConfig(slots=2, terminate_grace=0.5, min_uptime=0, budget=SpawnBudget(3, 60))
    with trio.fail_after(BOUND), pytest.raises(CrashLoop) as caught:
        async with open_pool(runtime, config=config, name="zoo") as pool:
            await pool.wait_ready(2)
            (tmp_path / "breaks.py").write_text(BREAK)
            for _ in range(2):
                with pytest.raises(WorkerDied):
                    await pool.execute("exits", 1)
            await trio.sleep_forever()
    assert len(caught.value.failures) == 3
    assert (caught.value.stage, caught.value.exit_code) == ("boot", 1)
    assert caught.value.stderr == ("half deployed",)
    assert "half deployed" in str(caught.value)
    assert pool.statistics().spawned == 2 + 3


async def test_a_degraded_pool_serves_again_when_its_program_is_mended(tmp_path: Path) -> None:
    """Callers are told at once meanwhile."""
    runtime = breakable(tmp_path / "breaks.py")
    budget = SpawnBudget(3, 5)
    config = PoolConfig(slots=1, terminate_grace=0.5, min_uptime=0, budget=budget, on_crash_loop="degrade")
    with trio.fail_after(BOUND):
        async with open_pool(runtime, config=config) as pool:
            (tmp_path / "breaks.py").write_text(BREAK)
            with pytest.raises(WorkerDied):
                await pool.execute("exits", 1)
            with pytest.raises(CrashLoop) as caught:
                await pool.execute("echo", 1)
            assert caught.value.stderr == ("half deployed",)
            while pool.statistics().slots[0].state is not SlotState.FAILED:
                await trio.sleep(0.01)  # until its backoff is over, and it is refused
            breakable(tmp_path / "breaks.py")
            await pool.wait_ready()
            assert await pool.execute("echo", "again") == "again"


async def test_running_out_of_descriptors_is_an_error_of_the_launch() -> None:
    """EMFILE: named, with its remedy, and nothing is left."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, hard))
    try:
        with pytest.raises(BootFailed, match=r"(open files|descriptors open)") as caught:
            await boots(animal("animal"), PoolConfig(slots=1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.hint is not None
    assert "ulimit -n" in caught.value.hint

"""The pytest plugin, in projects of its own: the mark, the fixtures on tasks and processes, the ceiling."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from trio_folk.testing import assert_nothing_left

@pytest.fixture(autouse=True)
def nothing_left():
    with assert_nothing_left():
        yield
"""
WORKER = """
import os
import trio
from trio_folk.worker import Worker

worker = Worker(2)

@worker.method
async def twice(value):
    return 2 * value

@worker.method
async def pid():
    return os.getpid()
"""
BOUND = 100  # seconds


class Project:
    """A folder with tests, and how they went."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(jobs=WORKER)
        self.ini = "[pytest]\ntrio_mode = true\nfilterwarnings = error\nfolk_worker = jobs:worker\n"

    def run(self, text: str, *options: str) -> pytest.RunResult:
        """Run these tests, with the plugin of this checkout."""
        self._pytester.makepyfile(test_it=text)
        self._pytester.makeini(self.ini)
        plugin = ("-p", "trio_folk.testing.pytest_plugin", "-p", "no:randomly")
        return self._pytester.runpytest_subprocess(*plugin, *options, timeout=BOUND)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Project(pytester)


MARKED = """
import pytest
import trio

@pytest.mark.every_cancellation_point(seeds=[7])
async def test_right(tmp_path):
    async with await trio.open_file(tmp_path / "it", "w") as file:
        await file.write("it")

@pytest.mark.every_cancellation_point(seeds=[7])
async def test_wrong():
    lock = trio.Lock()
    await lock.acquire()
    await trio.sleep(0)  # here
    lock.release()
"""


def test_marked_test_is_run_at_every_point(project: Project) -> None:
    """The mark finds what one run does not, and says what it did where it finds nothing."""
    done = project.run(MARKED, "-rP")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["cancelled before a step of main*"])
    done.stdout.fnmatch_lines(["*Cancelled was raised at *test_it.py:13 in test_wrong"])
    done.stdout.fnmatch_lines(["<Exploration: * points reached, *>"])


FIXTURES = """
import pytest
import trio

made = []
@pytest.fixture
async def doubled(number):
    await trio.sleep(0)
    made.append(2 * number)
    yield made[-1]
    made.append("left")

@pytest.fixture
def number():
    return 21

@pytest.fixture
def text(doubled):
    return str(doubled)

@pytest.mark.parametrize("word", ["a", "b"])
@pytest.mark.every_cancellation_point(seeds=[0], invariant=lambda doubled: doubled == 42)
async def test_fixtures(doubled, text, word):
    assert (doubled, text) == (42, "42")
    await trio.sleep(1)

def test_they_were_made_anew():
    assert len(made) >= 16
    assert made == [42, "left"] * (len(made) // 2)

@pytest.mark.every_cancellation_point
async def test_clock(autojump_clock):
    await trio.sleep(3600)
    assert trio.lowlevel.current_clock() is autojump_clock

@pytest.mark.every_cancellation_point(invariant=lambda doubled: doubled == 43)
async def test_broken(doubled):
    await trio.sleep(0)
"""


def test_async_fixtures_stand_around_each_run(project: Project) -> None:
    """They are made anew for each run, with all that needs them; a clock among the fixtures is the run's clock."""
    done = project.run(FIXTURES)
    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(["*it returned False*"])


def test_explored_pool_is_open_around_the_call(project: Project) -> None:
    """`folk_pool` under the mark: the call is cancelled, the pool is not."""
    done = project.run(
        """
        import pytest

        async def serves(folk_pool):
            await folk_pool.wait_ready(2)
            assert await folk_pool.execute("twice", 4) == 8

        @pytest.mark.every_cancellation_point(seeds=[0], may_return=True, invariant=serves)
        async def test_call(folk_pool):
            assert await folk_pool.execute("twice", 4) == 8
        """,
        "-rP",
    )
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["<Exploration: * points reached, *>"])


POOLED = """
import os
import pytest
import trio_folk

async def test_pool(folk_pool):
    assert await folk_pool.execute("twice", 4) == 8
    print("in this process:", await folk_pool.execute("pid") == os.getpid())

async def test_runtime(folk_runtime):
    print(folk_runtime)
    async with trio_folk.open_pool(folk_runtime, slots=1) as pool:
        assert await pool.run_sync(sum, [1, 2]) == 3

@pytest.mark.folk_pool(slots=3)
async def test_options(folk_pool):
    await folk_pool.wait_ready(3)
    assert folk_pool.statistics().ready == 3

@pytest.mark.folk_worker(None)
async def test_functions_only(folk_pool):
    with pytest.raises(trio_folk.ApplicationError):
        await folk_pool.execute("twice", 4)
"""


@pytest.mark.parametrize(
    ("option", "same", "kind"),
    [
        ((), True, "TaskRuntime"),
        (("--folk-runtime=task",), True, "TaskRuntime"),
        (("--folk-runtime=pipe",), False, "PipeRuntime"),
        (("--folk-runtime=fork",), False, "ForkRuntime"),
    ],
)
def test_same_tests_run_on_tasks_and_processes(
    project: Project, option: tuple[str, ...], same: bool, kind: str
) -> None:
    """The option alone decides what the workers are."""
    done = project.run(POOLED, "-rP", *option)
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines([f"in this process: {same}"])
    done.stdout.fnmatch_lines([f"<{kind}*"])


HANGS = """
import pytest
import trio

async def stuck():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()  # here

@pytest.mark.folk_timeout(0.5)
async def test_slow():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stuck)

async def test_next():
    await trio.sleep(0)
"""


def test_ceiling_shows_the_tasks_and_ends_the_test(project: Project) -> None:
    """A test that hangs fails with its tree of tasks, shields or not, and the next one runs."""
    done = project.run(HANGS)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        ["the test took longer than 0.5 s", "its tasks:", "*stuck: at *test_it.py:6 in stuck"]
    )


def test_ceiling_may_be_a_setting_of_all_tests(project: Project) -> None:
    """In the configuration file; a mark on the test counts more."""
    project.ini += "folk_timeout = 0.5\n"
    done = project.run(
        """
        import pytest
        import trio

        async def test_slow():
            await trio.sleep_forever()

        @pytest.mark.folk_timeout(60)
        async def test_may_be_slow():
            await trio.sleep(1)
        """
    )
    done.assert_outcomes(passed=1, failed=1)


def test_ceiling_ends_what_waits_for_a_thread(project: Project) -> None:
    """Where nothing can be cancelled the run is abandoned, in silence; the tasks are shown all the same."""
    done = project.run(
        """
        import threading
        import pytest
        import trio

        done = threading.Event()

        @pytest.fixture
        def released(nothing_left):
            yield
            done.set()

        @pytest.mark.folk_timeout(0.3)
        async def test_slow(released):
            await trio.to_thread.run_sync(done.wait, 60)
        """
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["its tasks:", "*in test_slow"])


def test_ceiling_shows_where_code_blocks(project: Project) -> None:
    """Code outside trio cannot be ended, but it is shown, and the test fails when it is over."""
    done = project.run(
        """
        import time
        import pytest

        @pytest.mark.folk_timeout(0.2)
        def test_slow():
            time.sleep(1)
        """
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["it is not in trio's loop but at", "*time.sleep(1)"])


def test_only_async_tests_are_explored(project: Project) -> None:
    """The mark on another one is refused with a sentence."""
    done = project.run(
        """
        import pytest

        @pytest.mark.every_cancellation_point
        def test_sync():
            pass
        """
    )
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*is for async tests*"])


def test_plugin_costs_nothing_until_it_is_used() -> None:
    """Every pytest run of a program that has us installed loads it: neither trio nor attrs come with it."""
    code = (
        "import sys, trio_folk.testing.pytest_plugin; print({'trio', 'attr', 'msgpack'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"

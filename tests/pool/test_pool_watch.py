"""Watching: saved files are served, mistakes in them stop nothing, and nothing is left of it.

Real files and real watches, mostly with real workers. What is polled for takes half a second; each test ends its
watch by a cancellation before the pool closes.
"""

from __future__ import annotations

import logging
import os
import py_compile
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_folk import (
    FolkError,
    ForkRuntime,
    Lease,
    PipeRuntime,
    PoolClosed,
    PoolConfig,
    ReloadReport,
    WorkerPool,
    open_pool,
)
from trio_folk._pool.changes import Changes, open_changes
from trio_folk._pool.watching import forget_compiled, named, watch
from trio_folk.abc import Runtime
from trio_folk.testing import FaultyRuntime, assert_nothing_left

watchfiles = pytest.importorskip("watchfiles", reason='pip install "trio-folk[watch]"')

BOUND = 60.0  # seconds; each of these takes less than three
CODE = """\
import os
from trio_folk.worker import Worker

worker = Worker()

@worker.method
def answer():
    return {answer}

@worker.method
def pid():
    return os.getpid()
"""
BROKEN = "def answer(:\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module ``watched`` in a folder of its own, which workers have on their path."""
    folder = tmp_path / "src"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    path = folder / "watched.py"
    path.write_text(CODE.format(answer=1))
    return path


@asynccontextmanager
async def watched_pool(runtime: Runtime, *paths: Path, debounce: float = 0.1) -> AsyncIterator[WorkerPool]:
    """A pool of two slots, and a watch that ends before it."""
    config = PoolConfig(slots=2, min_uptime=0)
    async with open_pool(runtime, config=config) as pool, trio.open_nursery() as nursery:
        await pool.wait_ready(2)
        await nursery.start(partial(pool.watch, *paths, debounce=debounce))
        yield pool
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(BOUND):
        while not true():
            await trio.sleep(0.01)


async def until_generation(pool: WorkerPool, least: int) -> None:
    """Until every slot's worker has it."""

    def reached() -> bool:
        seated = [slot.incarnation for slot in pool._core.slots]
        return all(each is not None and each.handle.generation >= least for each in seated)

    await until(reached)


async def until_answer(pool: WorkerPool, wanted: int) -> None:
    with trio.fail_after(BOUND):
        while await pool.execute("answer") != wanted:
            await trio.sleep(0.01)


async def told(changes: Changes, debounce: float = 0.1) -> list[str]:
    """The names of what has changed."""
    with trio.fail_after(BOUND):
        return [os.path.basename(path) for path in await changes.settle(debounce)]


async def until_told(changes: Changes, name: str) -> None:
    while name not in await told(changes):
        pass


# -- the pool


async def test_saved_code_is_served(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change of a file in the folder is answered by new workers, and logged with the file's name."""
    caplog.set_level(logging.INFO, "trio_folk")
    async with watched_pool(PipeRuntime.python("watched:worker"), source.parent) as pool:
        assert await pool.execute("answer") == 1
        source.write_text(CODE.format(answer=22))
        await until_answer(pool, 22)
        await until(lambda: "watched.py changed: pool 'pool' has generation 1" in caplog.text)


async def test_mistake_is_logged_and_the_old_code_serves(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has file, worker, stage, traceback and remedy; after it was mended the new code serves."""
    async with watched_pool(PipeRuntime.python("watched:worker"), source.parent) as pool:
        source.write_text(BROKEN)
        await until(lambda: bool(caplog.records))
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("trio_folk", "ERROR")
        for part in ["watched.py", "worker pool/0.2", "during boot", "SyntaxError", "remedy", BROKEN.strip()]:
            assert part in record.getMessage()
        assert [await pool.execute("answer") for _ in range(4)] == [1] * 4
        source.write_text(CODE.format(answer=333))
        await until_answer(pool, 333)
        assert pool.statistics().budget.failed == 0


async def test_change_of_the_same_size_in_the_same_second_is_served(source: Path) -> None:
    """Python would trust what it compiled before: it compares no more than size and second."""
    py_compile.compile(os.fspath(source))  # as an earlier worker did, unless it runs with -B
    before = source.stat()
    async with watched_pool(PipeRuntime.python("watched:worker"), source.parent) as pool:
        source.write_text(CODE.format(answer=2))
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        await until_answer(pool, 2)


async def test_check_is_passed_on(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What does not pass it does not serve."""

    async def check(worker: Lease) -> None:
        assert await worker.execute("answer") > 0

    runtime = PipeRuntime.python("watched:worker")
    async with open_pool(runtime, slots=1) as pool, trio.open_nursery() as nursery:
        await nursery.start(partial(pool.watch, source, check=check, debounce=0.1))
        source.write_text(CODE.format(answer=-1))
        await until(lambda: "during check" in caplog.text)
        assert await pool.execute("answer") == 1
        nursery.cancel_scope.cancel()


async def test_forked_workers_are_reborn_in_the_old_code_while_the_file_is_broken(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A zygote has read the disk once; only a reload that succeeds reads it for good."""
    async with watched_pool(ForkRuntime("watched:worker"), source) as pool:
        source.write_text(BROKEN)
        await until(lambda: "SyntaxError" in caplog.text)
        deaths = pool.statistics().deaths
        os.kill(await pool.execute("pid"), signal.SIGKILL)
        await until(lambda: pool.statistics().deaths > deaths)
        await pool.wait_ready(2)
        assert {await pool.execute("answer") for _ in range(4)} == {1}
        source.write_text(CODE.format(answer=4444))
        await until_answer(pool, 4444)


async def test_burst_of_changes_leads_to_few_reloads(tmp_path: Path) -> None:
    """Three hundred files, written by one checkout, are not three hundred reloads."""
    runtime = FaultyRuntime()
    async with watched_pool(runtime, tmp_path, debounce=0.5) as pool:
        for number in range(300):
            (tmp_path / f"{number}.py").write_text("x = 1\n")
        await until_generation(pool, 1)
        generations = {birth.generation for birth in runtime.births}
    assert len(generations) <= 1 + 2


async def test_changes_during_a_reload_lead_to_one_more(tmp_path: Path) -> None:
    """However many they are; and it begins after the one that runs has ended."""
    begun: list[int] = []
    gate = trio.Event()

    async def reload() -> ReloadReport:
        begun.append(len(begun))
        if len(begun) == 1:
            await gate.wait()
        return ReloadReport(generation=1, slots=(), seconds=0)

    async with trio.open_nursery() as nursery, open_changes(tmp_path) as seen:
        await nursery.start(partial(watch, "pool", reload, [tmp_path], 1.0))
        (tmp_path / "first").touch()
        await until(lambda: bool(begun))
        for number in range(20):
            (tmp_path / f"then-{number}").touch()
            await told(seen, 0)
        assert begun == [0]
        gate.set()
        await until(lambda: len(begun) > 1)
        (tmp_path / "last").touch()
        await until(lambda: len(begun) > 2)
        assert len(begun) == 3
        nursery.cancel_scope.cancel()


async def test_cancel_takes_milliseconds_and_leaves_no_thread(tmp_path: Path) -> None:
    """watchfiles' own cancellation takes five seconds; this one takes 10 ms, folders and files alike."""
    file = tmp_path / "file"
    file.touch()
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        for _ in range(5):
            async with assert_nothing_left(), trio.open_nursery() as nursery:
                await nursery.start(pool.watch, tmp_path, file)
                began = time.perf_counter()
                nursery.cancel_scope.cancel()
            assert time.perf_counter() - began < 2


async def test_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """Whether it was watching yet or not."""
    async with open_pool(FaultyRuntime(), slots=1) as pool, assert_nothing_left():
        for pause in [0, 0.001, 0.01, 0.03]:
            with trio.move_on_after(pause):
                await pool.watch(tmp_path)


async def test_drained_pool_ends_its_watch(tmp_path: Path) -> None:
    """Quietly at the next change; a watch that begins later is refused."""
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(pool.watch, tmp_path, debounce=0.01))
            await pool.drain()
            (tmp_path / "late").touch()
        with pytest.raises(PoolClosed):
            await pool.watch(tmp_path)


@pytest.mark.parametrize("debounce", [-1, float("nan"), float("inf")])
async def test_debounce_that_makes_no_sense_is_refused(tmp_path: Path, debounce: float) -> None:
    """An endless one would never reload."""
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(ValueError, match="debounce"):
            await pool.watch(tmp_path, debounce=debounce)


async def test_missing_package_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install, and leaves bare."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    async with open_pool(FaultyRuntime(), slots=1) as pool, trio.open_nursery() as nursery:
        with pytest.raises(FolkError) as caught:
            await nursery.start(pool.watch, tmp_path)
    assert 'pip install "trio-folk[watch]"' in str(caught.value)


async def test_missing_path_is_named(tmp_path: Path) -> None:
    """Before anything is watched, as it was written."""
    async with open_pool(FaultyRuntime(), slots=1) as pool, trio.open_nursery() as nursery:
        with pytest.raises(FileNotFoundError, match="'no/such/src'"):
            await nursery.start(pool.watch, tmp_path, "no/such/src")
        with pytest.raises(TypeError, match="at least one path"):
            await nursery.start(pool.watch)


async def test_refusal_of_the_system_is_told_with_its_remedy(tmp_path: Path) -> None:
    """No descriptor for inotify: one FolkError, bare, which says what can be done."""
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(FolkError, match=f"{tmp_path.name} cannot be watched") as caught:
                await pool.watch(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "max_user_watches" in str(caught.value)
    assert caught.value.__cause__ is not None


# -- what is seen


async def test_change_right_after_the_start_is_seen(tmp_path: Path) -> None:
    """Started means watching: not a moment later."""
    for number in range(20):
        async with open_changes(tmp_path) as changes:
            (tmp_path / f"{number}").touch()
            assert await told(changes, 0) == [f"{number}"]


async def test_debris_is_not_told(tmp_path: Path) -> None:
    """Caches, version control, what editors leave: only the file itself is told."""
    debris = [
        "__pycache__/a.cpython-311.pyc",
        ".git/index",
        ".ruff_cache/x",
        ".a.py.swp",
        "a.py~",
        "4913",
        "#a.py#",
        ".#a.py",
    ]
    for name in debris:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    async with open_changes(tmp_path) as changes:
        for name in debris:
            (tmp_path / name).touch()
        (tmp_path / "a.py").touch()
        assert await told(changes, 0.5) == ["a.py"]


async def test_project_below_a_folder_of_that_name_is_seen(tmp_path: Path) -> None:
    """What counts is the way from the folder that is watched."""
    folder = tmp_path / ".venv" / "src"
    folder.mkdir(parents=True)
    async with open_changes(folder) as changes:
        (folder / "a.py").touch()
        assert await told(changes) == ["a.py"]


async def test_replaced_file_is_seen_again_and_again(tmp_path: Path) -> None:
    """Editors put another file in its place; its neighbours are none of our business."""
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.touch()
    async with open_changes(file) as changes:
        for _ in range(3):
            other.write_text("x = 1\n")
            os.replace(other, file)
            assert await told(changes) == ["a.py"]


@pytest.mark.parametrize("away", ["removed", "moved", "removed while it is open"])
async def test_path_made_anew_is_seen(tmp_path: Path, away: str) -> None:
    """A folder or a file that goes, and comes again: that it came, and what changes in it later."""
    folder, file = tmp_path / "src", tmp_path / "main.py"
    folder.mkdir()
    file.touch()
    held = [os.open(path, os.O_RDONLY) for path in (folder, file)]
    async with open_changes(folder, file) as changes:
        if away == "moved":
            folder.rename(tmp_path / "old-src")
            file.rename(tmp_path / "old-main.py")
        else:
            for descriptor in held if away == "removed" else []:
                os.close(descriptor)
            folder.rmdir()
            file.unlink()
        for make, then in [(folder.mkdir, folder / "b.py"), (file.touch, file)]:
            make()
            await told(changes, 0.5)
            then.write_text("x = 1\n")
            await until_told(changes, then.name)
    for descriptor in held if away != "removed" else []:
        os.close(descriptor)


async def test_folder_replaced_at_once_is_seen(tmp_path: Path) -> None:
    """Between two looks at it; the new one may have the number of the old."""
    folder = tmp_path / "src"
    folder.mkdir()
    async with open_changes(folder) as changes:
        for number in range(2):
            folder.rmdir()
            folder.mkdir()
            await told(changes, 0.5)
            (folder / f"{number}.py").touch()
            await until_told(changes, f"{number}.py")
            (folder / f"{number}.py").unlink()
            await told(changes, 0.5)


async def test_name_that_is_not_utf8_does_not_end_it(tmp_path: Path) -> None:
    """watchfiles stumbles over it; that something changed is told, and so is what changes later."""
    async with open_changes(tmp_path) as changes:
        os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT | os.O_WRONLY, 0o600))
        await told(changes)
        (tmp_path / "a.py").touch()
        await until_told(changes, "a.py")


async def test_new_folder_is_seen_into(tmp_path: Path) -> None:
    """A folder that did not exist at the start is watched, too; relative paths are, wherever one goes."""
    async with open_changes(os.path.relpath(tmp_path)) as changes:
        (tmp_path / "sub").mkdir()
        assert await told(changes) == ["sub"]
        (tmp_path / "sub" / "a.py").touch()
        assert await told(changes) == ["a.py"]


# -- when it is told


async def test_changes_are_told_when_no_more_come(autojump_clock: trio.testing.MockClock) -> None:
    """Quiet for the debounce; each change begins it again."""
    changes = Changes()

    async def save() -> None:
        for name in "abc":
            await trio.sleep(0.9)
            changes.note([name])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save)
        began = trio.current_time()
        assert await changes.settle(1) == ["a", "b", "c"]
        assert trio.current_time() - began == pytest.approx(3.7)


async def test_changes_that_never_stop_are_told_at_last(autojump_clock: trio.testing.MockClock) -> None:
    """After ten times the debounce."""
    changes = Changes()

    async def save() -> None:
        while True:
            changes.note(["log"])
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save)
        began = trio.current_time()
        assert await changes.settle(1) == ["log"]
        assert trio.current_time() - began == pytest.approx(10)
        nursery.cancel_scope.cancel()


async def test_cancelled_wait_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """What was noted before is told by the next one, and once."""
    changes = Changes()
    changes.note(["a"])
    with trio.move_on_after(0.5):
        await changes.settle(1)
    assert await changes.settle(1) == ["a"]
    with trio.move_on_after(100) as scope:
        await changes.settle(1)
    assert scope.cancelled_caught


async def test_watch_that_fails_later_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """To who waits, and to who comes later."""
    changes = Changes()

    async def fail() -> None:
        await trio.sleep(1)
        changes.fail(FolkError("gone"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        for _ in range(2):
            with pytest.raises(FolkError, match="gone"):
                await changes.settle(1)


def test_compiled_code_of_changed_files_is_forgotten(tmp_path: Path) -> None:
    """Of every Python, but of no other file; and what has none is no error."""
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    kept = ["b.cpython-311.pyc", "aa.cpython-311.pyc"]
    for name in ["a.cpython-311.pyc", "a.cpython-313.opt-1.pyc", *kept]:
        (cache / name).touch()
    forget_compiled([str(tmp_path / name) for name in ("a.py", "c.py", "b.txt", "gone/d.py")])
    assert sorted(path.name for path in cache.iterdir()) == sorted(kept)


def test_many_files_are_named_by_the_first() -> None:
    """As short as they can be written from here."""
    assert named([os.path.abspath("src/a.py")]) == "src/a.py"
    assert named(["/a", "/b", "/c", "/d", "/e"]) == "/a, /b, /c and 2 more"

"""How a Python worker's interpreter is started: what it inherits of its parent's, and what it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import runtimes_jobs as jobs
import trio

from trio_folk import PipeRuntime
from trio_folk.abc import Birth, WorkerId

ROOT = str(Path(__file__).parents[2])
HERE = str(Path(__file__).parent)
BOUND = 60

PARENT = f"""
import json, os, sys
for each in ({HERE!r}, {ROOT!r}):
    if each not in sys.path:
        sys.path.append(each)
import trio, trio_folk, runtimes_jobs

async def main():
    async with trio_folk.open_pool(trio_folk.PipeRuntime.python(), slots=1) as pool:
        worker = await pool.run_sync(runtimes_jobs.interpreter)
    print(json.dumps([runtimes_jobs.interpreter(), worker]))

trio.run(main)
"""


def parent_and_worker(
    *options: str, cwd: Path, script: Path | None = None, **env: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a parent that was started like this, and its worker, tell of their interpreters."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    where = [str(script)] if script else ["-c", PARENT]
    done = subprocess.run(
        [sys.executable, *options, *where],
        cwd=cwd,
        env={**inherited, **env},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=BOUND,
    )
    parent, worker = json.loads(done.stdout)
    return parent, worker


def absolute(path: list[str], cwd: Path) -> list[str]:
    """Each entry once: the worker's own default entries come after those it was told."""
    return list(dict.fromkeys(each or str(cwd) for each in path))


async def asked(runtime: PipeRuntime) -> dict[str, Any]:
    """What a worker of this runtime tells of its interpreter."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(runtime.spawn, Birth(WorkerId("p", 0, 1)))
            await handle.ready()
            told: dict[str, Any] = await handle.execute(runtime.prepare_python(jobs.interpreter, (), {}))
            nursery.cancel_scope.cancel()
    return told


async def test_the_workers_path_is_the_parents() -> None:
    """Entry by entry, in order."""
    told = await asked(PipeRuntime.python())
    assert absolute(told["path"], Path.cwd()) == absolute(sys.path, Path.cwd())


async def test_an_entry_added_at_run_time_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytest, notebooks and scripts do it; what it holds can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "added_at_run_time.py").write_text("def answer():\n    return 42\n")
    module = __import__("added_at_run_time")
    runtime = PipeRuntime.python()
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(runtime.spawn, Birth(WorkerId("p", 0, 1)))
            await handle.ready()
            assert await handle.execute(runtime.prepare_python(module.answer, (), {})) == 42
            nursery.cancel_scope.cancel()
    del sys.modules["added_at_run_time"]


@pytest.mark.parametrize(
    "options",
    [
        ("-X", "dev"),
        ("-X", "utf8"),
        ("-X", "frozen_modules=off"),
        ("-O",),
        ("-OO",),
        ("-B",),
        ("-W", "ignore::DeprecationWarning"),
        ("-W", "error::UserWarning", "-W", "ignore::ImportWarning"),
    ],
    ids=" ".join,
)
def test_options_are_inherited(tmp_path: Path, options: tuple[str, ...]) -> None:
    """-X, -W and the flags, in the same order."""
    parent, worker = parent_and_worker(*options, cwd=tmp_path)
    for name in ("xoptions", "warnoptions", "flags", "prefix", "cwd"):
        assert worker[name] == parent[name], name


def test_pythonpath_is_put_back_for_the_workers_children(tmp_path: Path) -> None:
    """It carries ``sys.path`` to the worker only; nothing of the contract's variables is left either."""
    own = str(tmp_path / "own")
    parent, worker = parent_and_worker(cwd=tmp_path, PYTHONPATH=own)
    assert worker["pythonpath"] == parent["pythonpath"] == own
    parent, worker = parent_and_worker(cwd=tmp_path)
    assert worker["pythonpath"] is None
    assert [name for name in worker["folk"] if name != "FOLK_RUNTIME"] == []


async def test_a_pythonpath_of_the_runtimes_own_comes_first(tmp_path: Path) -> None:
    """Asked for in ``env``: it precedes the parent's path, and stays for the worker's children."""
    told = await asked(PipeRuntime.python(env={"PYTHONPATH": str(tmp_path)}))
    assert told["path"][0] == str(tmp_path)
    assert told["pythonpath"] == str(tmp_path)


def test_a_script_does_not_bring_its_workers_the_working_directory(tmp_path: Path) -> None:
    """The parent has its script's directory on its path, and not the working directory; so has the worker."""
    script = tmp_path / "scripts" / "parent.py"
    script.parent.mkdir()
    script.write_text(PARENT)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "trio.py").write_text("raise SystemExit('the wrong trio')\n")
    parent, worker = parent_and_worker(cwd=elsewhere, script=script)
    assert absolute(worker["path"], elsewhere) == absolute(parent["path"], elsewhere)
    assert str(elsewhere) not in worker["path"]
    assert str(script.parent) in worker["path"]


def test_a_parent_that_has_the_working_directory_shares_it(tmp_path: Path) -> None:
    """``python -c`` has it as the empty entry."""
    parent, worker = parent_and_worker(cwd=tmp_path)
    assert "" in parent["path"]
    assert absolute(worker["path"], tmp_path) == absolute(parent["path"], tmp_path)


def test_the_parents_main_is_not_imported(tmp_path: Path) -> None:
    """The worker's ``__main__`` is ours."""
    _, worker = parent_and_worker(cwd=tmp_path)
    assert worker["main"] == "trio_folk.worker.__main__"

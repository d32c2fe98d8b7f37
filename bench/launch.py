"""Launching: one cell in a process of its own, with a limit, and nothing of it left afterwards.

A bench that hangs with one peer says nothing of the others, and a busy worker outlives its parent in
most pools. This process makes itself the reaper of orphans, so whatever a cell leaves becomes its
child, is counted, and is killed.

Invariants
    1. `run_cell` returns within its limit and the two graces below, whatever the cell does.
    2. Only descendants of this process are signalled.

Knows processes. Does not know what a cell measures.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import attrs

from bench.interface import Peer, Values

ROOT = Path(__file__).resolve().parents[1]
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_FAREWELL = 1.0  # seconds in which helpers of a library, and the killed, may still end
_BURIAL = 5.0  # seconds until the killed must be gone
_ALARM = 5  # seconds after its limit a cell ends even if this process is gone
_LOOK = 0.01


@attrs.frozen
class Found:
    """What came of one cell: values or an error, how many processes it left behind, and whether it had to be killed."""

    values: Values | None
    error: str | None
    left: int
    hung: bool = False


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave; where that is unknown, nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_cell(module: str, peer: type[Peer], *, limit: int, short: bool, root: Path = ROOT) -> Found:
    """Measure one peer, within the limit; the packages are those of the root."""
    command = [sys.executable, "-m", "bench.cell", module, "measure", peer.name, str(limit + _ALARM)]
    with (
        tempfile.TemporaryDirectory(prefix="folk-bench-", ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        # files, not pipes: a leftover that holds a pipe open would hold us too
        cell = subprocess.Popen(
            [*command, "--short"] if short else command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=root,
            env=_environment(peer, scratch),
            start_new_session=True,
        )
        left = 0
        try:
            cell.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            ended_itself = cell.poll() is not None
            if not ended_itself:
                os.killpg(cell.pid, signal.SIGKILL)  # it leads a session, and is not reaped yet
                cell.wait()
            left = _bury(_FAREWELL)
        values, error = _read(cell.returncode, out, err) if ended_itself else (None, f"no end in {limit} s")
    return Found(values, error, left, hung=not ended_itself)


def _environment(peer: type[Peer], scratch: str) -> dict[str, str]:
    """Ours, with a temporary folder that goes when the cell was killed, and the folder its peer asks for."""
    folders = [str(Path(__file__).parent / peer.path)] if peer.path else []
    folders += filter(None, [os.environ.get("PYTHONPATH")])
    return {**os.environ, "TMPDIR": scratch, "PYTHONPATH": os.pathsep.join(folders)}


def _read(status: int, out: IO[bytes], err: IO[bytes]) -> tuple[Values | None, str | None]:
    """What the cell said on its last line; what it said on stderr is passed on where it failed."""
    told = _lines(out)
    if status == 0 and told:
        return json.loads(told[-1])["values"], None
    complaints = _lines(err)
    print(*complaints, sep="\n", file=sys.stderr, flush=True)
    if status == 1 and told:
        return None, json.loads(told[-1])["error"]
    return None, f"{complaints[-1] if complaints else 'said nothing'} (exit {status})"


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").strip().splitlines()


def _bury(farewell: float) -> int:
    """Wait for the orphans of a cell, kill those that stay, and say how many did."""
    _wait_for_none(farewell)
    killed: set[int] = set()
    deadline = time.monotonic() + _BURIAL
    # the children of the killed become ours only now: hence the loop
    while (children := _reap()) and time.monotonic() < deadline:
        for pid in children - killed:
            os.kill(pid, signal.SIGKILL)
        killed |= children
        time.sleep(_LOOK)
    return len(killed)


def _wait_for_none(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _reap() and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _reap() -> set[int]:
    """Reap what has ended; return the children that live."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return set()
    return {int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent_of(path) == os.getpid()}


def _parent_of(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_bytes()
    except OSError:  # gone between the listing and here
        return None
    return int(stat.rpartition(b")")[2].split()[1])  # after the name, which may hold anything: proc(5)

"""What the tests of Ray stand on: a cluster of two nodes on this machine, started once, and ended whatever happens.

Ray's library keeps threads and descriptors of its own in a program that has used it, and opens one for each actor that
it has ever talked to. So what these tests leave is counted in processes, and in temporary files of ours.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray_cluster import Cluster

from trio_folk.testing import _stock, assert_nothing_left

if importlib.util.find_spec("ray") is None:  # not imported: Ray reads its token's mode when it is
    pytest.skip("needs Ray: pip install trio-folk[ray]", allow_module_level=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes, to which this program is connected."""
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The check that all other tests have, of what is ours: not of what Ray keeps in this process or beside it."""
    everyone = _stock._Process.all
    monkeypatch.setattr(_stock, "_descriptors", lambda: iter(()))
    monkeypatch.setattr(_stock, "_threads", lambda: iter(()))
    monkeypatch.setattr(
        _stock._Process,
        "all",
        lambda: {pid: each for pid, each in everyone().items() if each.pid == os.getpid() or is_actor(pid)},
    )
    with assert_nothing_left():
        yield


def is_actor(pid: int) -> bool:
    """Whether this process is a worker of a pool on Ray; others, idle and of its own, Ray keeps as it likes."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Actor")
    return False

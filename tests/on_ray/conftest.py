"""What the tests of Ray stand on: a cluster of two nodes on this machine, started once, and ended whatever happens.

Ray's library keeps threads and descriptors of its own in a program that has used it, and opens one for each actor that
it has ever talked to. So what these tests leave is counted in processes, and in temporary files of ours.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray_cluster import Cluster

from trio_folk.testing import _stock, assert_nothing_left

HERE = Path(__file__).parent


def is_installed() -> bool:
    """Whether there is Ray. It is not imported: when it is, it looks for its token."""
    try:
        importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Ray they are skipped, in so many words."""
    if not is_installed():
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs Ray: pip install trio-folk[ray]"))


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

"""A cluster of Ray on this machine: a head and other nodes, each a session that can be frozen or killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BOUND = 60.0
"""Seconds for a node to be there, ten times what it takes."""
CPUS = 4
_MIB = 1024 * 1024
_START = (sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())", "start")


class Node:
    """One node; its processes are those of the session that it was started in."""

    def __init__(self, *arguments: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray's sockets lie in it
        options = (
            "--block",
            "--disable-usage-stats",
            f"--num-cpus={CPUS}",
            f"--object-store-memory={200 * _MIB}",
            "--include-dashboard=false",
            f"--temp-dir={self.folder}",
        )
        with Path(self.folder, "output").open("w") as output:
            self._process = subprocess.Popen(
                [*_START, *arguments, *(each for each in options if _fits(each, arguments))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """What it has said."""
        return Path(self.folder, "output").read_text()

    def processes(self) -> list[int]:
        """The pids of all that belongs to it, newest first."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                fields = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
                if int(fields[3]) == self._process.pid and fields[0] not in "ZX":
                    found.append(int(folder.name))
        return sorted(found, reverse=True)

    def freeze(self) -> None:
        """Nothing of it runs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def actors(self) -> list[int]:
        """The pids of the workers of pools on it."""
        found = []
        for pid in self.processes():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Actor"):
                    found.append(pid)
        return found

    def kill(self) -> None:
        """All of it at once, as if its power had gone; returns when nothing of it is there."""
        until = time.monotonic() + BOUND
        while self.processes() and time.monotonic() < until:
            self._signal(signal.SIGKILL)
            time.sleep(0.05)
        self._process.kill()
        self._process.wait(BOUND)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _fits(option: str, arguments: tuple[str, ...]) -> bool:
    """Only a head has a dashboard, or a folder for all."""
    return "--head" in arguments or not option.startswith(("--include-dashboard", "--temp-dir"))


class Cluster:
    """A head and other nodes."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{_free_port()}"
        port = self.address.rpartition(":")[2]
        self.head = Node(
            "--head", f"--port={port}", "--node-ip-address=127.0.0.1", '--resources={"head": 100}'
        )
        self.others: list[Node] = []

    def add(self, name: str) -> Node:
        """One more node, which has 100 of the resource of this name."""
        resources = json.dumps({name: 100})
        node = Node(f"--address={self.address}", "--node-ip-address=127.0.0.1", f"--resources={resources}")
        self.others.append(node)
        return node

    def wait_nodes(self, number: int) -> None:
        """Return when so many are alive."""
        import ray

        until = time.monotonic() + BOUND
        while sum(node["Alive"] for node in ray.nodes()) != number:
            assert time.monotonic() < until, f"no {number} nodes within {BOUND:g} s: {self.head.output()}"
            time.sleep(0.1)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Cluster]:
        """Be connected to one of two nodes, with a token; all of it ends with the block."""
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(16).hex())
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        cluster = cls()
        try:
            cluster._connect()
            cluster.add("other")
            cluster.wait_nodes(2)
            yield cluster
        finally:
            ray.shutdown()
            for node in (*cluster.others, cluster.head):
                node.kill()

    def _connect(self) -> None:
        from trio_folk.runtimes import _ray_api as api

        host, _, port = self.address.partition(":")
        until = time.monotonic() + BOUND
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                break
            assert time.monotonic() < until, f"no head within {BOUND:g} s: {self.head.output()}"
            time.sleep(0.1)
        api.connect(self.address, {})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

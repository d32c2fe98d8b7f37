"""What the tests of brokered backends share: a directory with services, and ways to talk to their daemons.

Daemons are nobody's children. Each test's carry a mark in their environment, by which they are found and killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_folk.broker import Service
from trio_folk.broker._record import Record, read_record

ROOT = Path(__file__).parents[2]
BOUND = 60.0  # seconds; each of these waits takes less than three
DAEMON = (sys.executable, str(Path(__file__).with_name("broker_daemon.py")))


@attrs.frozen
class Broker:
    """A directory with backends of the tests' own program.

    Attributes:
        folder: where they are; short, for a socket's address is.
    """

    folder: Path

    def service(self, name: str = "echo", *, env: dict[str, str] | None = None, **options: Any) -> Service:
        """A service; whatever a test does not say is as it is for users, but for the environment."""
        marked = {
            "PYTHONPATH": str(ROOT),
            "BROKER_TEST": str(self.folder),
            "COUNTED": str(self.counted),
            "ALIVE": str(self.folder / "alive"),
        }
        options = {"directory": str(self.folder), "program": DAEMON, **options}
        return Service(name, env=marked | (env or {}), **options)

    @property
    def counted(self) -> Path:
        """Where the daemons count themselves."""
        return self.folder / "counted"

    @property
    def notes(self) -> list[str]:
        """What they wrote."""
        return self.counted.read_text().splitlines() if self.counted.exists() else []

    @property
    def births(self) -> list[int]:
        """The pids of those that began to serve, in order."""
        return [int(line.split()[1]) for line in self.notes if line.startswith("born")]

    def record(self, service: Service) -> Record:
        """The service's record, which is there."""
        found = read_record(service.place.record)
        assert found is not None
        return found

    def processes(self) -> list[int]:
        """The pids of this test's daemons."""
        mark = f"BROKER_TEST={self.folder}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def kill_all(self) -> None:
        """End all of them, and wait."""
        end = time.monotonic() + BOUND
        while (pids := self.processes()) and time.monotonic() < end:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        assert not pids


async def until(condition: Callable[[], object]) -> None:
    """Wait for what only another process knows."""
    with trio.fail_after(BOUND):
        while not condition():
            await trio.sleep(0.01)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    from trio_folk._spawn import process_started

    await until(lambda: process_started(pid) is None)


async def hear(stream: trio.SocketStream) -> int:
    """The pid that a daemon says first."""
    said = b""
    with trio.fail_after(BOUND):
        while not said.endswith(b"\n"):
            data = await stream.receive_some(1)
            assert data, "the daemon ended"
            said += data
    return int(said)


async def converse(stream: trio.SocketStream, text: bytes) -> bytes:
    """What it says to this."""
    said = b""
    with trio.fail_after(BOUND):
        await stream.send_all(text)
        while len(said) < len(text):
            data = await stream.receive_some()
            assert data, "the daemon ended"
            said += data
    return said

"""A listener that is handed over is exactly the one that was told of, or nothing is served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from broker_kit import BOUND, DAEMON, ROOT, Broker, converse, gone, hear, until

from trio_folk import BindError, acquire_spawn_lock
from trio_folk._process import ProcessSpec, open_process
from trio_folk.broker import _spawning, bind_endpoint, connect_or_spawn
from trio_folk.broker._adoption import OURS, adopt
from trio_folk.broker._dial import Unreachable, dial


@pytest.fixture
def endpoint(broker: Broker) -> str:
    """A path for a socket."""
    return str(broker.folder / "x.sock")


@pytest.fixture
def listener(endpoint: str) -> Iterator[socket.socket]:
    """A listening socket on it."""
    with bind_endpoint(endpoint) as made:
        yield made


def told(listener: socket.socket, *, pid: int | None = None, inode: int = 0) -> dict[str, str]:
    """The environment that tells of it; whatever is given is wrong."""
    fd = listener.fileno()
    found = os.fstat(fd)
    return {OURS: f"{fd}:{found.st_dev}:{found.st_ino + inode}:{os.getpid() if pid is None else pid}"}


def test_listener_is_adopted_once(endpoint: str, listener: socket.socket) -> None:
    """It listens on the endpoint, is closed on exec, and nobody after us is told of it."""
    with listener.dup() as copy:
        environ = told(copy) | {"LISTEN_PID": "1", "LISTEN_FDS": "1", "OTHER": "stays"}
        found = adopt(endpoint, environ)
        assert found is not None
        assert found.getsockname() == endpoint
        assert not found.get_inheritable()
        assert environ == {"OTHER": "stays"}
        assert adopt(endpoint, environ) is None
        found.detach()


def test_nothing_told_is_nothing_adopted(endpoint: str) -> None:
    """Then the daemon binds."""
    assert adopt(endpoint, {}) is None


@pytest.mark.parametrize("words", ["", "3", "a:b:c:d", "3:1:2", "999999:1:1:{pid}", "-1:1:1:{pid}"])
def test_nonsense_fails_closed(endpoint: str, words: str) -> None:
    """What makes no sense, or names no descriptor, is not replaced by a bind of our own."""
    with pytest.raises(BindError, match="handed over"):
        adopt(endpoint, {OURS: words.format(pid=os.getpid())})


def test_told_to_another_process_fails_closed(endpoint: str, listener: socket.socket) -> None:
    """A grandchild that inherited the variable does not take what is not its own."""
    with pytest.raises(BindError, match="handed to process 1,"):
        adopt(endpoint, told(listener, pid=1))


def test_other_inode_fails_closed(endpoint: str, listener: socket.socket) -> None:
    """The number is something else by now."""
    with pytest.raises(BindError, match="something else"):
        adopt(endpoint, told(listener, inode=1))


def test_socket_that_does_not_listen_fails_closed(endpoint: str) -> None:
    """A connection is a socket too."""
    left, right = socket.socketpair()
    with left, right, pytest.raises(BindError, match="no Unix stream socket that listens"):
        adopt(endpoint, told(left))


def test_datagram_socket_fails_closed(endpoint: str) -> None:
    """Its type is looked at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong:
        with pytest.raises(BindError, match="no Unix stream socket that listens"):
            adopt(endpoint, told(wrong))


def test_listener_of_another_endpoint_fails_closed(listener: socket.socket, broker: Broker) -> None:
    """It listens, and somewhere else."""
    with pytest.raises(BindError, match=r"is bound to .*x\.sock"):
        adopt(str(broker.folder / "y.sock"), told(listener))


def test_file_fails_closed(endpoint: str) -> None:
    """A descriptor that is no socket at all."""
    with open(os.devnull) as file:
        found = os.fstat(file.fileno())
        words = f"{file.fileno()}:{found.st_dev}:{found.st_ino}:{os.getpid()}"
        with pytest.raises(BindError, match="no socket"):
            adopt(endpoint, {OURS: words})


def test_listen_pid_of_somebody_else_is_not_for_us(endpoint: str) -> None:
    """sd_listen_fds(3): then nothing was passed."""
    assert adopt(endpoint, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None


def test_listen_fds_that_are_not_there_fail_closed(endpoint: str) -> None:
    """They were for us, and are not what was told."""
    with pytest.raises(BindError, match="handed over"):
        adopt(endpoint, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "600000"})


# What systemd does: the listener as descriptor 3, LISTEN_PID set by the process itself, then exec.
ACTIVATOR = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o600)
listener.listen()
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""
ACTIVATED = """
import sys, trio
from broker_daemon import Counting
from trio_folk.broker import bootstrap
trio.run(bootstrap, Counting, sys.argv[1])
"""


async def test_systemd_hands_it_over(broker: Broker) -> None:
    """Started by socket activation: the daemon serves systemd's socket, and callers of the service find it."""
    service = broker.service()
    env = {**os.environ, **service.env, "PYTHONPATH": f"{ROOT}:{os.path.dirname(DAEMON[1])}"}
    argv = [sys.executable, "-c", ACTIVATOR, service.place.endpoint, ACTIVATED]
    with subprocess.Popen(argv, env=env) as process:
        try:
            await until(lambda: os.path.exists(service.place.record))
            async with await connect_or_spawn(service, until="ready") as stream:
                assert await hear(stream) == process.pid
                assert await converse(stream, b"hi") == b"hi"
        finally:
            process.terminate()


FOREIGN = """
import os, socket, sys, time
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"%d\\n" % os.getpid())
    names = os.listdir("/proc/self/fd")
    connection.sendall(b"%d\\n" % len([n for n in names if os.path.exists(f"/proc/self/fd/{n}")]))
    connection.close()
"""


async def test_program_that_knows_only_listen_fds_is_served(broker: Broker) -> None:
    """A daemon without a line of ours gets the listener as systemd gives it, with its own pid, and nothing else."""
    service = broker.service(program=[sys.executable, "-S", "-c", FOREIGN])
    async with await connect_or_spawn(service) as stream:
        pid = await hear(stream)
        assert pid == broker.record(service).pid
        assert await hear(stream) == 5  # 0, 1, 2, the listener and the connection


async def test_nobody_else_inherits_the_listener(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else is launched while it is handed over does not keep the endpoint alive after the daemon's death."""
    service = broker.service()
    launch = _spawning.launch_detached

    async def watched(*args: Any, **options: Any) -> None:
        with subprocess.Popen(["sleep", "600"], close_fds=False) as careless:
            try:
                async with open_process(ProcessSpec(argv=["sleep", "600"])):
                    await launch(*args, **options)
                    async with await dial(service.place.endpoint) as stream:
                        pid = await hear(stream)
                    options["listener"].close()
                    os.kill(pid, signal.SIGKILL)
                    await gone(pid)
                    with pytest.raises(Unreachable):
                        await dial(service.place.endpoint)
            finally:
                careless.kill()

    monkeypatch.setattr(_spawning, "launch_detached", watched)
    with acquire_spawn_lock(service.place.lock) as lock:
        await _spawning.ensure(service, lock, trio.current_time() + BOUND)

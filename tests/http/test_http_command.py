"""``trio-folk serve`` as a process: signals, what systemd hands over and is told, PHP, and what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 60.0  # seconds; each of these takes less than four

SITE = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("slow", flush=True)
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version 1"]
"""

# Runs the rest of its command line with a listening socket as descriptor 3, as systemd does.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "trio_folk", *sys.argv[2:]])
"""


@contextmanager
def command(
    folder: Path,
    *words: str,
    env: dict[str, str] | None = None,
    start: Any = ("-m", "trio_folk"),
    keep: Any = (),
) -> Iterator[subprocess.Popen[str]]:
    """The command, whose standard error is read until it says where it serves; ended whatever happens."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
    process = subprocess.Popen(
        [sys.executable, *start, "serve", *words],
        cwd=folder,
        env=variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=keep,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(BOUND)
        assert process.stderr is not None
        process.stderr.close()


def port_of(process: subprocess.Popen[str]) -> int:
    """Where it says that it serves."""
    assert process.stderr is not None
    for line in process.stderr:
        if " on http://" in line:
            return int(line.rsplit(":", 1)[1])
    raise AssertionError("it never served")


def get(port: int, path: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=BOUND)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "mysite.py").write_text(SITE)
    return tmp_path


def test_it_serves_until_it_is_told_to_stop(site: Path) -> None:
    """A request that runs is finished, no other is taken, and the exit status is 0."""
    with command(site, "mysite:app", "--bind", "127.0.0.1:0", "--workers", "2") as process:
        port = port_of(process)
        assert get(port) == (200, b"version 1")
        assert get(port, "/readyz")[0] == 200
        with socket.create_connection(("127.0.0.1", port), BOUND) as running:
            running.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            assert process.stderr is not None
            assert "slow" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            answer = b""
            while data := running.recv(65536):
                answer += data
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"version 1")
        assert process.wait(BOUND) == 0
        with pytest.raises(OSError):
            get(port)


def test_a_second_signal_ends_it_at_once(site: Path) -> None:
    """Whatever runs."""
    (site / "mysite.py").write_text(SITE.replace("time.sleep(1)", "time.sleep(600)"))
    with command(site, "mysite:app", "--bind", "127.0.0.1:0", "--workers", "1") as process:
        port = port_of(process)
        with socket.create_connection(("127.0.0.1", port), BOUND) as running:
            running.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            assert process.stderr is not None
            assert "slow" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert "stopping" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(BOUND) == 0


def test_sighup_brings_in_new_code(site: Path) -> None:
    """Without an end of serving; code that is broken is logged, and the old serves on."""
    with command(site, "mysite:app", "--bind", "127.0.0.1:0", "--workers", "1") as process:
        port = port_of(process)
        assert process.stderr is not None
        (site / "mysite.py").write_text("import no_such_thing")
        process.send_signal(signal.SIGHUP)
        until(lambda: "the old code serves on" in process.stderr.readline())  # type: ignore[union-attr]
        assert get(port) == (200, b"version 1")
        (site / "mysite.py").write_text(SITE.replace("version 1", "version two"))
        process.send_signal(signal.SIGHUP)
        until(lambda: get(port) == (200, b"version two"))


def test_systemd_hands_over_a_socket_and_is_told(site: Path) -> None:
    """READY=1 when it serves, RELOADING=1 and READY=1 around new code, STOPPING=1; over a real datagram socket."""
    notify = site / "notify.sock"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.create_server(("127.0.0.1", 0)) as given,
    ):
        manager.bind(str(notify))
        manager.settimeout(BOUND)
        port = given.getsockname()[1]
        start = ("-c", ACTIVATE, str(given.fileno()))
        env = {"NOTIFY_SOCKET": str(notify)}
        with command(
            site, "mysite:app", "--workers", "1", env=env, start=start, keep=[given.fileno()]
        ) as process:

            def told() -> str:
                return manager.recv(4096).decode()

            assert told().startswith("STATUS=serving mysite:app on http://127.0.0.1:")
            assert told() == "READY=1"
            assert get(port) == (200, b"version 1")
            process.send_signal(signal.SIGHUP)
            assert told().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert told() == "READY=1"
            process.send_signal(signal.SIGTERM)
            assert told() == "STOPPING=1"
            assert process.wait(BOUND) == 0


def test_a_path_is_listened_on_and_removed(site: Path) -> None:
    """A dead socket is replaced, a live one is not, and none is left at the end."""
    path = site / "site.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind = ("--bind", f"unix:{path}", "--workers", "1")
    with command(site, "mysite:app", "--bind", "127.0.0.1:0", *bind) as process:
        port_of_both = process.stderr.readline() if process.stderr else ""
        assert str(path) in port_of_both
        with command(site, "mysite:app", *bind) as second:
            assert second.wait(BOUND) == 2
            assert second.stderr is not None
            assert "somebody listens" in second.stderr.read()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(BOUND)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mysite:ap",), "did you mean 'app'"),
        (("mysit:app",), "did you mean 'mysite'"),
        (("mysite",), "module:app"),
        (("mysite:app", "--bind", "nowhere"), "host:port"),
        (("mysite:app", "--watch", "no/such"), "no/such"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(site: Path, words: tuple[str, ...], said: str) -> None:
    """With status 2, and no traceback of ours."""
    with command(site, *words, "--workers", "1") as process:
        _, errors = process.communicate(timeout=BOUND)
        assert process.returncode == 2
        assert said in errors
        assert "trio_folk/" not in errors


def test_a_site_in_php_answers() -> None:
    """The example: a page, a body, what fails, and a process that ends itself."""
    if shutil.which("php") is None or "msgpack" not in subprocess.run(
        ["php", "-m"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout.split("\n"):
        pytest.skip(
            "PHP or its msgpack extension is missing: install the Debian packages php-cli and php-msgpack"
        )
    with command(ROOT, "examples/php_site/worker.php", "--bind", "127.0.0.1:0", "--workers", "1") as process:
        port = port_of(process)
        status, page = get(port, "/?name=Emma%20%3Cb%3E")
        assert status == 200
        assert b"<h1>Hello Emma &lt;b&gt;</h1>" in page
        assert get(port, "/length", os.urandom(1_000_000)) == (200, b"1000000")
        assert get(port, "/length", b"z" * (9 << 20))[0] == 413
        assert get(port, "/nowhere")[0] == 404
        assert get(port, "/fail")[0] == 500
        assert get(port, "/exit")[0] == 502
        assert get(port, "/length", b"again") == (200, b"5")

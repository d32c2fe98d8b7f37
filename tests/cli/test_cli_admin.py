"""``trio-folk admin``: a pool of another program, seen and steered in words."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from admin_programs import BOUND, program


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory whose name is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="folk-cli-") as made:
        yield Path(made)


def test_one_pool_is_seen_and_steered(command, sockets) -> None:
    """Every verb once, in words and as JSON; the only program there is found by itself."""
    command.env["TRIO_FOLK_DIRECTORY"] = str(sockets)
    with program(command, sockets / "thumbs.admin") as running:
        heads, row, own = command("admin", "list").out.splitlines()
        assert heads.split() == [
            *["pool", "pid", "state", "slots", "wanted", "ready", "running", "queued", "generation", "socket"]
        ]
        assert row.split()[:6] == ["thumbs", str(running.pid), "open", "3", "3", "3"]
        assert own == f"{sockets}/thumbs.admin has greeter.greet"

        told = json.loads(command("admin", "stats", "--json").out)
        [pool] = told[f"{sockets}/thumbs.admin"]
        assert [slot["worker"] for slot in pool["slots"]] == ["thumbs/0.1", "thumbs/1.1", "thumbs/2.1"]
        assert all(slot["memory"] > 2**20 for slot in pool["slots"])
        assert "thumbs/2.1" in command("admin", "stats").out

        assert command("admin", "recycle", "1").out == "slot 1 has worker thumbs/1.2\n"
        assert "slot 2: thumbs/2.1 -> thumbs/2.2 in" in command("admin", "reload").out
        assert command("admin", "scale", "2").out == "2 slots wanted\n"
        assert json.loads(command("admin", "scale", "auto", "--json").out) == {"wanted": 3}
        greeted = json.loads(command("admin", "call", "greeter.greet", '["you"]').out)
        assert greeted == {"hello": ["you"], "pid": running.pid}
        drained = command("admin", "drain")
        assert (drained.out, drained.status) == ("drained\n", 0)
        refused = command("admin", "reload")
        assert refused.status == 1
        assert "the pool 'thumbs' is closed" in refused.err
    gone = command("admin", "list", "--socket", str(sockets / "thumbs.admin"))
    assert gone.status == 1
    assert "no pool answers on" in gone.err
    assert "hint:" in gone.err


def test_events_are_a_line_each_until_the_pool_ends(command, sockets) -> None:
    """Or until Ctrl-C, with its status."""
    socket = sockets / "a.admin"
    with program(command, socket, slots=1) as running:
        words = ("admin", "events", "--socket", str(socket))
        with command.start(*words, "--json") as told, command.start(*words) as said:
            while not listening(command, socket, 2):
                assert running.poll() is None
            command("admin", "recycle", "0", "--socket", str(socket))
            event = json.loads(told.stdout.readline())
            assert (event["kind"], event["worker"], event["pool"]) == ("retiring", "thumbs/0.1", "thumbs")
            assert "retiring     thumbs/0.1  recycle: somebody asked" in said.stdout.readline()
            said.send_signal(signal.SIGINT)
            assert said.wait(BOUND) == 130
            assert said.stderr.read() == ""
            running.terminate()
            told.communicate(timeout=BOUND)
            assert told.returncode in (0, 1), "the pool has ended, or its program"


def listening(command, socket: Path, clients: int) -> bool:
    """Whether so many connections to the socket are open, as the kernel lists them."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    connected = [line for line in lines if line.endswith(str(socket)) and line.split()[5] == "03"]
    return len(connected) >= clients


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recycle"], "recycle takes the number of a slot"),
        (["recycle", "x"], "not 'x'"),
        (["scale", "-1"], "not '-1'"),
        (["scale", "many"], "or \"auto\", not 'many'"),
        (["drain", "now"], "drain takes no further word"),
        (["call"], "call takes a method"),
        (["call", "a.b", "{"], "the parameters are no JSON"),
        (["stop"], "invalid choice: 'stop'"),
        (["list"], "no program serves a pool here, name its socket with --socket"),
        (["reload"], "no program serves a pool here, name its socket with --socket"),
    ],
)
def test_words_that_make_no_sense_are_told(command, tmp_path, words, said) -> None:
    """With status 2, and nothing was done."""
    command.env["TRIO_FOLK_DIRECTORY"] = str(tmp_path / "none")
    done = command("admin", *words)
    assert done.status == 2
    assert said in done.err
    assert done.out == ""

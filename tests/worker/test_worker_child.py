"""A worker of synchronous methods, as a real process: order, errors, its end, and nothing but frames on the wire."""

from __future__ import annotations

import os
import pickle
import select
import signal
from pathlib import Path

import pytest
import worker_jobs
from worker_child import BOUND, Child, packed_call

from trio_folk._wire import encode_notify, encode_request, encode_response, pack
from trio_folk.worker._sync import write_whole

JOBS = "worker_jobs:worker"


def test_ready_worker_announces_itself_and_answers() -> None:
    """The first message is control.ready; then calls are answered."""
    with Child(JOBS) as child:
        child.ready()
        assert child.announced == {
            "pid": child.process.pid,
            "folk": {
                "v": 1,
                "features": ["python", "cancel", "meta", "stream", "progress", "feed", "order", "revoke"],
                "concurrency": 1,
            },
        }
        assert child.call("add", {"left": 1, "right": 2}) == 3
        assert child.call("kind") == "NoneType"
        assert child.call("echo", {"a": [1, None, b"x"]}) == {"a": [1, None, b"x"]}


def test_worker_without_target_runs_functions() -> None:
    """By number or by value, with echo beside."""
    with Child() as child:
        child.ready()
        child.define(1, worker_jobs.multiply)
        assert pickle.loads(child.call("folk.call", packed_call(1, 6, right=7))) == 42
        assert pickle.loads(child.call("folk.call", packed_call(worker_jobs.multiply, 6, 7))) == 42
        assert child.call("echo", 1) == 1
        child.hang_up()
        assert child.end() == (0, "", "")


def test_calls_run_in_order_and_each_is_answered_before_the_next() -> None:
    """Three calls in one write, answered in that order."""
    with Child(JOBS) as child:
        child.ready()
        frames = [encode_request(n, "note", pack([str(n)])) for n in (5, 3, 4)]
        child.task.send(b"".join(frames))
        replies = [child.task.receive() for _ in range(3)]
        assert [reply.msgid for reply in replies] == [5, 3, 4]
        assert [reply.result for reply in replies] == [["5"], ["5", "3"], ["5", "3", "4"]]


def test_frames_split_byte_by_byte_are_understood() -> None:
    """However the kernel cuts them."""
    with Child(JOBS) as child:
        child.ready()
        for byte in encode_request(1, "add", pack([1, 2])):
            child.task.send(bytes([byte]))
        assert child.task.receive().result == 3


@pytest.mark.parametrize("method", ["fail", "leave", "unencodable", "no_such_method"])
def test_worker_survives_what_its_methods_do(method: str) -> None:
    """Whatever one call ends in, the next one is answered."""
    with Child(JOBS) as child:
        child.ready()
        assert child.error(method, {"fail": ["x"], "leave": ["exit"]}.get(method))["code"] < 0
        if method == "leave":
            assert child.error("leave", ["interrupt"])["data"]["type"] == "KeyboardInterrupt"
        assert child.call("add", [1, 2]) == 3


def test_large_frames_go_both_ways() -> None:
    """Far more than a socket's buffer, each way."""
    with Child(JOBS) as child:
        child.ready()
        blob = os.urandom(3_000_000)
        assert child.call("echo", blob) == blob


def test_limit_comes_from_the_environment() -> None:
    """A result over it becomes an error, and the worker goes on."""
    with Child(JOBS, env={"FOLK_MAX_FRAME": "2048"}) as child:
        child.ready()
        assert "over the limit of 2048" in child.error("large", [5000])["message"]
        assert len(child.call("large", [1000])) == 1000


def test_prints_and_writes_to_descriptor_1_never_touch_the_wire() -> None:
    """Print, os.write, a shell's echo: all of it lands on stdout and stderr."""
    with Child(JOBS, env={"PYTHONUNBUFFERED": None}) as child:
        child.ready()
        assert child.call("speak") is None
        assert child.call("add", [1]) == 1
        child.hang_up()
        status, out, err = child.end()
        assert status == 0
        assert out.splitlines() == ["printed", "written", "shouted"]  # each at once: the lines are in order
        assert err.splitlines() == ["complained"]


def test_end_of_file_while_idle_exits_with_0_and_runs_exit_hooks(tmp_path: Path) -> None:
    """An ordinary end of an ordinary program."""
    with Child(JOBS) as child:
        child.ready()
        child.call("at_exit", [str(tmp_path / "mark")])
        child.hang_up()
        assert child.end() == (0, "", "")
    assert (tmp_path / "mark").read_text() == "ran"


def test_end_of_file_while_busy_lets_the_calls_finish() -> None:
    """What was sent before the end is answered."""
    with Child(JOBS) as child:
        child.ready()
        for text in ("a", "b"):
            child.request("note", [text])
        child.hang_up()
        assert [child.task.receive().result for _ in "ab"] == [["a"], ["a", "b"]]
        assert child.task.receive() is None
        assert child.end() == (0, "", "")


def test_parent_that_does_not_read_replies_any_more_ends_it_quietly() -> None:
    """EPIPE on a reply is an end, not an accident."""
    with Child(JOBS) as child:
        child.ready()
        child.request("large", [1_000_000])
        child.task.sock.close()
        assert child.end() == (0, "", "")


def test_parent_that_leaves_replies_unread_ends_it_quietly() -> None:
    """The kernel calls that a reset connection; it is an end of file."""
    with Child(JOBS) as child:
        child.ready().request("add", [1])
        select.select([child.task.sock], [], [], BOUND)
        child.task.sock.close()
        assert child.end() == (0, "", "")


def test_interrupted_write_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may write less than it was given, when a signal comes."""
    read, write = os.pipe()
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_whole(write, b"0123456789")
    assert os.read(read, 100) == b"0123456789"
    os.close(read)
    os.close(write)


def test_messages_that_are_no_requests_are_ignored() -> None:
    """Newer parents may notify of things that this worker does not know."""
    with Child(JOBS) as child:
        child.ready()
        child.task.send(encode_notify("folk.new", [1]) + encode_response(1, None, 2))
        assert child.call("add", [1, 2]) == 3


@pytest.mark.parametrize("target", [JOBS, "worker_async_jobs:worker"])
@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x05"])
def test_garbage_ends_it_with_a_complaint(target: str, garbage: bytes) -> None:
    """After what came before the garbage was answered; both loops alike."""
    with Child(target) as child:
        child.ready()
        assert child.call("echo", 1) == 1
        child.task.send(garbage)
        status, out, err = child.end()
        assert (status, out) == (1, "")
        assert err.startswith("trio_folk.worker: the parent broke the protocol: ")
        assert "Traceback" not in err


def test_calls_before_garbage_in_the_same_write_are_answered() -> None:
    """The bad frame spoils what comes after it, not what came before."""
    with Child(JOBS) as child:
        child.ready()
        child.task.send(encode_request(1, "add", pack([1, 2])) + b"\0\0\0\0")
        assert child.task.receive().result == 3
        assert child.end()[0] == 1


def test_end_of_file_inside_a_frame_is_a_complaint() -> None:
    """Half a request is no orderly end."""
    with Child(JOBS) as child:
        child.ready()
        child.task.send(b"\0\0\0\x10\x94")
        child.hang_up()
        status, _, err = child.end()
        assert status == 1
        assert "ended inside a frame" in err


@pytest.mark.parametrize(
    "env",
    [
        {"FOLK_TASK_FD": None},
        {"FOLK_CONTROL_FD": None},
        {"FOLK_TASK_FD": "0"},
        {"FOLK_TASK_FD": "three"},
        {"FOLK_CONTROL_FD": "-1"},
        {"FOLK_CONTROL_FD": "987"},
        {"FOLK_MAX_FRAME": "none"},
    ],
)
def test_worker_started_by_hand_says_what_it_misses(env: dict[str, str | None]) -> None:
    """Exit 1, one line, and the variable's name."""
    with Child(env=env) as child:
        status, _, err = child.end()
        assert status == 1
        (line,) = err.splitlines()
        assert next(iter(env)) in line


def test_only_one_target_is_taken() -> None:
    """Whoever passes two gets neither."""
    with Child(["a:b", "c:d"]) as child:
        status, _, err = child.end()
        assert status == 1
        assert "takes one target, module:object, not 2" in err


def test_pythonpath_of_the_worker_s_own_children_is_the_parents() -> None:
    """What was passed for our sake is put back, and no child believes to be a worker."""
    with Child(JOBS, env={"FOLK_PYTHONPATH": "/some/where"}) as child:
        environment = child.ready().call("environment")
        assert environment["PYTHONPATH"] == "/some/where"
        assert not {"FOLK_PYTHONPATH", "FOLK_TASK_FD", "FOLK_CONTROL_FD"} & set(environment)
    with Child(JOBS, env={"FOLK_PYTHONPATH": ""}) as child:
        assert "PYTHONPATH" not in child.ready().call("environment")
    with Child(JOBS) as child:
        assert "PYTHONPATH" in child.ready().call("environment")


@pytest.mark.parametrize("method", ["start_sleeper", "fork_sleeper"])
def test_process_that_outlives_the_worker_does_not_hold_its_channels(method: str) -> None:
    """Neither one that was executed nor one that was only forked: the end of the worker is seen."""
    with Child(JOBS) as child:
        sleeper = child.ready().call(method)
        try:
            child.process.kill()
            assert child.task.receive() is None
            assert child.control.receive() is None
        finally:
            os.killpg(sleeper, signal.SIGKILL)

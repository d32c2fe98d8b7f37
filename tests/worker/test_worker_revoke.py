"""A call is begun or given back, whichever of two threads comes first."""

from __future__ import annotations

import socket
import threading

import pytest
from worker_child import Child

from trio_folk._wire import MessageDecoder, Notify, Response, encode_notify, encode_request, pack
from trio_folk.worker import Worker
from trio_folk.worker._current import Running
from trio_folk.worker._sync import serve_blocking

LIMIT = 65536
ROUNDS = 4000


def test_what_has_begun_is_too_late_and_what_has_not_is_given_back() -> None:
    """Before its request comes, too; and once only."""
    running = Running()
    running.begun = 5
    assert running.revoke({"msgids": [4, 5, 6, 9]}) == {"msgids": [6, 9], "late": [4, 5]}
    running.begun = 6
    assert running.was_given_back(6)
    assert not running.was_given_back(6)
    running.begun = 7
    assert not running.was_given_back(7)
    assert running.was_given_back(9)


def test_msgids_that_wrapped_are_newer() -> None:
    """After 2**32 - 1 comes 1."""
    running = Running()
    running.begun = 2**32 - 1
    assert running.revoke({"msgids": [1, 2**32 - 2]}) == {"msgids": [1], "late": [2**32 - 2]}
    running.begun = 1
    assert running.was_given_back(1)


def test_nonsense_gives_nothing_back() -> None:
    """Whatever the params are."""
    nothing = {"msgids": [], "late": []}
    for params in (None, [], {}, {"msgids": 3}, {"msgids": ["x", None, True]}):
        assert Running().revoke(params) == nothing


def test_what_never_comes_is_not_remembered_without_bound() -> None:
    """A parent that revokes what it never sends is told that it is too late."""
    running = Running()
    told = running.revoke({"msgids": list(range(1, 5000))})
    assert len(told["msgids"]) + len(told["late"]) == 4999
    assert len(running.revoked) == len(told["msgids"]) < 2000


def test_each_call_is_answered_or_given_back_never_both_never_neither() -> None:
    """A loop as fast as it can, and another thread that takes back what it likes meanwhile."""
    worker = Worker()
    ours, theirs = socket.socketpair()
    running = Running()
    loop = threading.Thread(target=serve_blocking, args=(worker, theirs.fileno(), LIMIT, running))
    answered: set[int] = set()
    given_back: set[int] = set()
    late: set[int] = set()

    def read() -> None:
        decoder = MessageDecoder(LIMIT)
        while data := ours.recv(LIMIT):
            for message in decoder.feed(data):
                assert isinstance(message, Response)
                assert message.msgid not in answered
                answered.add(message.msgid)

    def revoke() -> None:
        for msgid in range(1, ROUNDS + 1, 3):
            told = running.revoke({"msgids": [msgid]})
            given_back.update(told["msgids"])
            late.update(told["late"])

    reader, revoker = threading.Thread(target=read), threading.Thread(target=revoke)
    with ours, theirs:
        for thread in (loop, reader, revoker):
            thread.start()
        for msgid in range(1, ROUNDS + 1):
            ours.sendall(encode_request(msgid, "echo", pack(msgid)))
        revoker.join()
        ours.shutdown(socket.SHUT_WR)
        loop.join()
        theirs.shutdown(socket.SHUT_RDWR)
        reader.join()
    assert not answered & given_back
    assert answered | given_back == set(range(1, ROUNDS + 1))
    assert late <= answered
    assert not running.revoked


@pytest.mark.parametrize("target", ["worker_jobs:worker", "worker_jobs:patient"])
def test_a_worker_process_gives_back_while_a_call_runs(target: str) -> None:
    """Whether trio serves it or not: it is asked on one channel while a call of the other one runs."""
    with Child(target) as child:
        child.ready()
        assert {"order", "revoke"} <= set(child.announced["folk"]["features"])
        first, second, third = (child.request("nap", each) for each in (0.5, 1, 0))
        child.control.send(encode_notify("folk.revoke", {"msgids": [second]}))
        assert child.control.receive() == Notify("folk.revoked", {"msgids": [second], "late": []})
        assert child.task.receive() == Response(first, None, 0.5)
        assert child.task.receive() == Response(third, None, 0)
        child.control.send(encode_notify("folk.revoke", {"msgids": [third]}))
        assert child.control.receive() == Notify("folk.revoked", {"msgids": [], "late": [third]})
        child.hang_up()
        assert child.end() == (0, "", "")

"""The worker without descriptors, called here as Ray would: what comes in and goes out are frames."""

from __future__ import annotations

import pickle
import sys
import threading

import pytest

from trio_folk._errors import ProtocolError
from trio_folk._wire import MAX_FRAME, MessageDecoder, Notify, Response, encode_notify, encode_request, pack
from trio_folk.worker._actor import Actor

BOUND = 10.0
TARGET = "trio_folk.testing.contract_worker:worker"


class Here:
    """Stands where Ray's context stands."""

    def get_node_id(self) -> str:
        """The node."""
        return "here"


def actor(target: str | None = TARGET) -> Actor:
    """One that is ready."""
    made = Actor(target, MAX_FRAME, "auto", [], "", Here)
    made.ready()
    return made


def request(msgid: int, method: str, params: object) -> bytes:
    """A request's frame."""
    return encode_request(msgid, method, pack(params), MAX_FRAME)


def reply(frame: bytes) -> Response:
    """The one message of a reply."""
    (message,) = MessageDecoder(MAX_FRAME).feed(frame)
    assert isinstance(message, Response)
    return message


def test_it_says_that_it_is_ready_and_where() -> None:
    """As a worker with sockets does."""
    frame, node = Actor(TARGET, MAX_FRAME, "auto", [], "", Here).ready()
    (message,) = MessageDecoder(MAX_FRAME).feed(frame)
    assert isinstance(message, Notify)
    assert (message.method, node) == ("control.ready", "here")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("trio_folk.no_such:worker", "no_such"),
        ("trio_folk.testing.contract_worker:async_worker", "synchronous"),
    ],
)
def test_what_it_cannot_serve_it_refuses(target: str, sentence: str) -> None:
    """A target that is not there, and one with async methods."""
    frame, _ = Actor(target, MAX_FRAME, "auto", [], "", Here).ready()
    (message,) = MessageDecoder(MAX_FRAME).feed(frame)
    assert isinstance(message, Notify)
    assert message.method == "folk.failed"
    assert sentence in message.params["message"]


def test_a_call_is_answered_by_its_msgid() -> None:
    """With its result or its error."""
    worker = actor()
    assert reply(worker.call(request(7, "add", [1, 2]))) == Response(7, None, 3)
    assert reply(worker.call(request(8, "no_such", None))).error["code"] == -32601


def test_what_was_given_back_is_never_run() -> None:
    """It is asked for before its turn, and answered with nothing when that comes."""
    worker = actor()
    worker.call(request(1, "echo", 1))
    told = worker.tell(encode_notify("folk.revoke", {"msgids": [1, 3]}))
    assert told is not None
    (message,) = MessageDecoder(MAX_FRAME).feed(told)
    assert isinstance(message, Notify)
    assert message.params == {"msgids": [3], "late": [1]}
    assert reply(worker.call(request(2, "echo", 2))).result == 2
    assert worker.call(request(3, "echo", 3)) == b""


def test_a_stream_is_pulled_while_it_runs() -> None:
    """In order, as much as there is credit for; its end ends the pulling, also when nobody pulled in time."""
    worker = actor()
    told = {"method": "count", "params": [3], "stream": 2}
    replies: list[bytes] = []
    thread = threading.Thread(target=lambda: replies.append(worker.call(request(5, "folk.execute", told))))
    thread.start()
    pulled = b""
    while pulled.count(b"folk.item") < 2:
        pulled += worker.pull(5)
    worker.tell(encode_notify("folk.credit", {"msgid": 5, "credit": 2}))  # the end costs one, too
    thread.join(BOUND)
    assert not thread.is_alive()
    while more := worker.pull(5):
        pulled += more
    items = [each.params for each in MessageDecoder(MAX_FRAME).feed(pulled) if isinstance(each, Notify)]
    assert items == [[5, 0], [5, 1], [5, 2]]
    assert reply(replies[0]).error is None


def test_large_buffers_come_and_go_beside_the_frames() -> None:
    """Those of a function's arguments are given, those of its result are returned; bytes stay bytes."""
    worker = actor(None)
    size = 300_000
    beside = [b"x" * size]
    pickled = pickle.dumps(((pickle.PickleBuffer(b"y" * size),), {}), 5, buffer_callback=lambda each: False)
    params = [pickle.dumps(bytes.upper, 5), pickled, [0, [0, size, 1]]]
    frame, lent = worker.call(request(1, "folk.call", params), beside)
    assert [bytes(each) for each in lent] == [b"X" * size]
    assert reply(frame).result[1] == [0, [0, size, 1]]


@pytest.mark.parametrize("frames", [b"", encode_notify("folk.progress", None), b"\x00\x00\x00\x01\xc1"])
def test_what_is_no_call_is_refused(frames: bytes) -> None:
    """Nothing, no request, and no message."""
    with pytest.raises(ProtocolError):
        actor().call(frames)


def test_the_vigil_ends_when_it_is_released() -> None:
    """And not before."""
    worker = actor()
    thread = threading.Thread(target=worker.vigil)
    thread.start()
    assert thread.is_alive()
    worker.release()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert worker.beat() > 0


def test_shipped_code_comes_before_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray puts the driver's folders in front; what only the parent has comes last."""
    monkeypatch.setattr(sys, "path", ["/driver", "/node/pkg_1", "/node/site"])
    Actor(None, MAX_FRAME, "auto", ["/driver", "/parent"], "pkg_1", Here)
    assert sys.path == ["/node/pkg_1", "/driver", "/node/site", "/parent"]

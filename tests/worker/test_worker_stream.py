"""Streams of a real worker, spoken to with the wire alone: credit, the end whoever wants it, and what is closed."""

from __future__ import annotations

from typing import Any

import pytest
from worker_child import Child

from trio_folk._wire import Notify, Response, encode_notify, encode_request, pack

SYNC, ASYNC, THREADS = (f"worker_stream_jobs:{name}" for name in ("plain", "eager", "several"))
each_way = pytest.mark.parametrize(
    ("target", "method"),
    [
        (SYNC, "count"),
        (ASYNC, "count"),
        (ASYNC, "acount"),
        (THREADS, "count"),
        (THREADS, "acount"),
        (SYNC, "wrapped"),
    ],
)


class Stream:
    """One stream of a worker, read by hand."""

    def __init__(
        self, child: Child, method: str, params: Any = None, *, credit: Any = 1, **more: Any
    ) -> None:
        self.child = child
        told = {"method": method, "params": params, "stream": credit, **more}
        child.msgid += 1
        self.msgid = child.msgid
        child.task.send(encode_request(self.msgid, "folk.execute", pack(told)))

    def tell(self, method: str, **params: Any) -> None:
        self.child.control.send(encode_notify(method, {"msgid": self.msgid, **params}))

    def grant(self, credit: int) -> None:
        self.tell("folk.credit", credit=credit)

    def items(self, number: int) -> list[Any]:
        """So many items, which must be what comes next."""
        found = []
        for _ in range(number):
            message = self.child.task.receive()
            assert isinstance(message, Notify), message
            assert message.method == "folk.item"
            assert message.params[0] == self.msgid
            found.append(message.params[1])
        return found

    def reply(self) -> Response:
        """The reply, which must be what comes next."""
        message = self.child.task.receive()
        assert isinstance(message, Response), message
        assert message.msgid == self.msgid
        return message

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.reply().error
        return error


@each_way
def test_items_come_in_order_and_the_reply_ends_them(target: str, method: str) -> None:
    """The result is nil; the worker answers the next call."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method, [3], credit=9)
        assert stream.items(3) == [0, 1, 2]
        assert stream.reply() == Response(stream.msgid, None, None)
        assert child.call("seen") == [0, 1, 2, "closed"]


@each_way
def test_nothing_is_made_without_credit(target: str, method: str) -> None:
    """Two items for a credit of two, and the generator is not run on before there is more."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method, [1000], credit=2)
        assert stream.items(2) == [0, 1]
        stream.grant(3)
        assert stream.items(3) == [2, 3, 4]
        stream.tell("folk.end")
        assert stream.reply() == Response(stream.msgid, None, None)
        assert child.call("seen") == [0, 1, 2, 3, 4, "closed"]


@each_way
def test_a_cancelled_stream_is_closed_and_answered(target: str, method: str) -> None:
    """While it waits for credit; with -32800."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method, [1000])
        assert stream.items(1) == [0]
        stream.tell("folk.cancel")
        assert stream.error()["code"] == -32800
        assert child.call("seen") == [0, "closed"]


@pytest.mark.parametrize(
    ("target", "method"), [(SYNC, "asks"), (THREADS, "asks"), (ASYNC, "awaits"), (THREADS, "awaits")]
)
@pytest.mark.parametrize(("told", "code"), [("folk.end", None), ("folk.cancel", -32800)])
def test_a_generator_that_is_busy_hears_that_nobody_wants_more(
    target: str, method: str, told: str, code: int | None
) -> None:
    """Where it awaits something, or asks; both words mean the same to it."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method, credit=9)
        assert stream.items(1) == [1]
        stream.tell(told)
        error = stream.error()
        assert (error and error["code"]) == code
        assert child.call("seen") == ["closed"]


@pytest.mark.parametrize("told", ["folk.end", "folk.cancel"])
@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_a_stream_that_nobody_wants_before_it_begins_is_not_begun(target: str, told: str) -> None:
    """Where the Notify came first, which is tried until the thread that reads the other channel is fast enough."""
    with Child(target) as child:
        child.ready()
        while True:
            child.control.send(encode_notify(told, {"msgid": child.msgid + 1}))
            Stream(child, "count", [3], credit=9)
            message, items = child.task.receive(), 0
            while isinstance(message, Notify):
                message, items = child.task.receive(), items + 1
            begun = child.call("seen")
            if not items and message.error is not None:
                break
        assert message.error["code"] == -32800
        assert begun == []


@pytest.mark.parametrize(("target", "method"), [(SYNC, "fails"), (ASYNC, "afails"), (THREADS, "fails")])
def test_a_failure_comes_after_the_items(target: str, method: str) -> None:
    """With the traceback from the generator on."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method, [2], credit=9)
        assert stream.items(2) == [0, 1]
        error = stream.error()
        assert (error["code"], error["message"]) == (-32603, "no more rows")
        assert method in error["data"]["traceback"]
        assert "_stream.py" not in error["data"]["traceback"]


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_an_item_that_cannot_be_sent_ends_the_stream(target: str) -> None:
    """With an error that says so; the generator is closed."""
    with Child(target, env={"FOLK_MAX_FRAME": "5000"}) as child:
        child.ready()
        stream = Stream(child, "unspeakable", credit=9)
        assert stream.items(1) == [1]
        assert "an item of unspeakable cannot be sent" in stream.error()["message"]
        assert "an item of too_large is too large" in Stream(child, "too_large", [9000]).error()["message"]
        assert child.call("seen") == ["closed"]


@pytest.mark.parametrize(
    ("target", "method"),
    [(SYNC, "swallows"), (ASYNC, "swallows"), (ASYNC, "aswallows"), (THREADS, "swallows")],
)
def test_a_generator_that_does_not_obey_is_an_error(target: str, method: str) -> None:
    """And no hang: it ignored GeneratorExit."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, method)
        assert stream.items(1) == [1]
        stream.tell("folk.end")
        assert "ignored GeneratorExit" in stream.error()["message"]
        assert child.call("echo", 1) == 1


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_what_is_raised_while_it_closes_is_told(target: str) -> None:
    """As the error of the stream."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, "fails_to_close")
        assert stream.items(1) == [1]
        stream.tell("folk.end")
        assert stream.error()["message"] == "the disk is full"


@pytest.mark.parametrize("target", [ASYNC, THREADS])
def test_an_asynchronous_generator_may_await_its_cleanup(target: str) -> None:
    """It stood at a yield, so nothing cancels it."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, "closes_slowly", [0.05])
        assert stream.items(1) == [1]
        stream.tell("folk.end")
        assert stream.reply().error is None
        assert child.call("seen") == ["closed"]


@pytest.mark.parametrize("target", [ASYNC, THREADS])
def test_a_scope_of_the_generators_own_may_end_at_a_yield(target: str) -> None:
    """While it waits for credit, in a place that is ours; the generator goes on behind its scope."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, "in_a_scope", [0.05])
        assert stream.items(1) == ["inside"]
        stream.grant(1)
        (next_item,) = stream.items(1)
        while next_item == "inside":
            stream.grant(1)
            (next_item,) = stream.items(1)
        assert next_item == "after"
        stream.grant(1)
        assert stream.reply().error is None


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_the_two_kinds_of_methods_are_not_mixed_up(target: str) -> None:
    """Each error names the other call, and nothing was run."""
    with Child(target) as child:
        child.ready()
        error = child.error("count", [3])
        assert error["code"] == -32602
        assert "call it with stream()" in error["message"]
        error = Stream(child, "seen").error()
        assert error["code"] == -32602
        assert "call it with execute()" in error["message"]
        assert Stream(child, "no_such_method").error()["code"] == -32601
        assert Stream(child, "count", []).error()["code"] == -32602
        assert Stream(child, "count", [3], credit=0).error()["code"] == -32602
        assert child.call("seen") == []


@pytest.mark.parametrize("target", [ASYNC])
def test_an_asynchronous_generator_has_no_result(target: str) -> None:
    """Called as an ordinary method it says so."""
    with Child(target) as child:
        child.ready()
        assert "call it with stream()" in child.error("acount", [3])["message"]


def test_several_streams_and_calls_share_a_worker() -> None:
    """A stream that waits for credit holds up nobody else."""
    with Child(THREADS) as child:
        child.ready()
        streams = [Stream(child, method, [1000]) for method in ("count", "acount")]
        first = [child.task.receive() for _ in streams]
        assert sorted(each.params for each in first) == [[1, 0], [2, 0]]
        assert child.call("echo", "meanwhile") == "meanwhile"
        for stream in streams:
            stream.grant(1)
            assert stream.items(1) == [1]
            stream.tell("folk.end")
            assert stream.reply().error is None


def test_nonsense_on_the_control_channel_is_ignored() -> None:
    """Credit for nobody, of no number; the stream goes on."""
    with Child(SYNC) as child:
        child.ready()
        stream = Stream(child, "count", [2])
        assert stream.items(1) == [0]
        for params in (None, {"msgid": "1"}, {"msgid": 99, "credit": 5}, {"msgid": 1, "credit": "all"}):
            child.control.send(encode_notify("folk.credit", params))
        stream.grant(5)
        assert stream.items(1) == [1]
        assert stream.reply().error is None

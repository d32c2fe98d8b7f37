"""Reports of a running call: as often as makes sense, the last always, and none to whom nobody asked."""

from __future__ import annotations

from typing import Any

import pytest
from test_worker_stream import ASYNC, SYNC, THREADS, Stream
from worker_child import Child

from trio_folk._wire import MessageDecoder, Notify, Response, encode_request, pack
from trio_folk.worker._progress import PAUSE, Reports


def told_of(child: Child, method: str, params: Any, **more: Any) -> tuple[list[list[Any]], Any]:
    """The reports of a call whose caller wants them, and its result."""
    child.msgid += 1
    told = {"method": method, "params": params, "progress": True, **more}
    child.task.send(encode_request(child.msgid, "folk.execute", pack(told)))
    reports = []
    while isinstance(message := child.task.receive(), Notify):
        assert message.method == "folk.progress"
        assert message.params[0] == child.msgid
        reports.append(message.params[1:])
    assert isinstance(message, Response)
    assert message.error is None
    return reports, message.result


@pytest.mark.parametrize(
    ("target", "method"), [(SYNC, "reports"), (ASYNC, "reports"), (ASYNC, "areports"), (THREADS, "reports")]
)
def test_the_first_report_and_the_last_are_told(target: str, method: str) -> None:
    """In front of the reply; what lies between is thinned out."""
    with Child(target) as child:
        child.ready()
        reports, result = told_of(child, method, [20])
        assert result == "done"
        assert reports[0][1] == 20
        assert reports[-1] == [20, 20]
        assert reports == sorted(reports)
        if method == "reports":
            assert reports[0] == [0, 20]
            assert len(reports) < 20
        assert child.call("echo", 1) == 1


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_who_did_not_ask_is_told_nothing(target: str) -> None:
    """The call costs what it cost before."""
    with Child(target) as child:
        child.ready()
        assert child.call("reports", [20]) == "done"


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_a_thread_may_report(target: str) -> None:
    """Whichever thread of the call it is; the total may be unknown."""
    with Child(target) as child:
        child.ready()
        assert told_of(child, "reports_from_a_thread", None) == ([[1, None]], "done")


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_a_report_that_is_no_number_fails_where_it_is_made(target: str) -> None:
    """Whether or not anybody asked."""
    with Child(target) as child:
        child.ready()
        error = child.error("reports_nonsense")
        assert error["data"]["type"] == "TypeError"
        assert "'half'" in error["message"]


@pytest.mark.parametrize("target", [SYNC, ASYNC, THREADS])
def test_a_stream_reports_between_its_items(target: str) -> None:
    """Both kinds of message before the reply."""
    with Child(target) as child:
        child.ready()
        stream = Stream(child, "reports_items", [3], credit=9, progress=True)
        found = []
        while isinstance(message := child.task.receive(), Notify):
            found.append(message)
        items = [each.params for each in found if each.method == "folk.item"]
        reports = [each.params for each in found if each.method == "folk.progress"]
        assert items == [[stream.msgid, each] for each in range(3)]
        assert reports[0] == [stream.msgid, 1, 3]
        assert reports[-1] == [stream.msgid, 3, 3]


def test_reports_are_thinned_out_and_end_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One each 50 ms; the newest of those held back is handed to whoever closes; nothing later."""
    now = 100.0
    monkeypatch.setattr("trio_folk.worker._progress.time.monotonic", lambda: now)
    told: list[bytes] = []
    reports = Reports(7, lambda each: told.append(each.take()))
    reports.note(1, 9)
    reports.note(2, 9)
    reports.note(3, 9)
    now += PAUSE
    reports.note(4, 9)
    reports.note(5, None)
    told.append(reports.close())
    reports.note(6, 9)
    told.append(reports.close())
    messages = MessageDecoder().feed(b"".join(told))
    assert [message.params for message in messages] == [[7, 1, 9], [7, 4, 9], [7, 5, None]]

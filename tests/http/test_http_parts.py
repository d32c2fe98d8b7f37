"""Requests, responses and statuses, as values: what is let through, what is refused, and with what."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

import trio_folk
from trio_folk.http import HttpConfig, application, serve
from trio_folk.http._request import Refused, as_handled, understood
from trio_folk.http._response import body_of, head_of
from trio_folk.http._statuses import outcome_of
from trio_folk.testing import FaultyRuntime

LIMITS = HttpConfig(max_body=1000, max_head=500, max_headers=10)


def scope(*headers: tuple[bytes, bytes], path: bytes = b"/a%20b", query: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/a b",
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 4711),
        "server": None,
    }


def test_a_request_goes_on_without_what_belongs_to_its_connection() -> None:
    """Hop-by-hop headers, and those that Connection names; but it cannot take away the host."""
    request = understood(
        scope(
            (b"Host", b"example"),
            (b"Connection", b"keep-alive, X-Private, Host"),
            (b"X-Private", b"1"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Proxy-Authorization", b"secret"),
            (b"X-Own", b"2"),
        ),
        LIMITS,
    )
    assert request["headers"] == [[b"host", b"example"], [b"x-own", b"2"]]
    assert (request["path"], request["client"], request["server"]) == (b"/a%20b", ["127.0.0.1", 4711], None)


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (414, scope(path=b"/" + b"a" * 500)),
        (414, scope(query=b"a" * 500)),
        (431, scope((b"x", b"a" * 500))),
        (431, scope(*[(b"x", b"a")] * 11)),
        (413, scope((b"content-length", b"1001"))),
        (400, scope((b"content-length", b"-1"))),
        (400, scope((b"content-length", b"1"), (b"content-length", b"2"))),
        (400, scope((b"content-length", b"9" * 19))),
        (400, scope((b"content-length", b"3"), (b"transfer-encoding", b"chunked"))),
        (400, scope(path=b"example.com:80")),
    ],
)
def test_a_request_beyond_the_limits_is_refused(status: int, asked: dict[str, Any]) -> None:
    """Each with its own status."""
    with pytest.raises(Refused) as caught:
        understood(asked, LIMITS)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://example/x", b"/x"), (b"http://example", b"/"), (b"*", b"*")]
)
def test_other_forms_of_a_target_become_a_path(target: bytes, path: bytes) -> None:
    """The absolute form is what a proxy would be sent."""
    assert understood(scope(path=target), LIMITS)["path"] == path


def test_a_handler_gets_each_header_once_and_as_text() -> None:
    """Cookies are joined in their own way; bytes that are not UTF-8 come back as they were."""
    request = understood(
        scope((b"Cookie", b"a=1"), (b"Cookie", b"b=2"), (b"X-Own", b"1"), (b"x-own", b"\xff"), query=b"q"),
        LIMITS,
    )
    told = as_handled(request, b"body")
    assert told["headers"]["cookie"] == "a=1; b=2"
    assert told["headers"]["x-own"].encode("utf-8", "surrogateescape") == b"1, \xff"
    assert (told["uri"], told["body"]) == ("/a%20b?q", b"body")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        [],
        {"status": 100},
        {"status": 600},
        {"status": "200"},
        {"status": True},
        {"headers": "x"},
        {"headers": [["a"]]},
        {"headers": [["a", None]]},
        {"headers": {"a b": "c"}},
        {"headers": {"": "c"}},
        {"headers": {"a:": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a": "b\nc: d"}},
        {"headers": {"a\r\nb": "c"}},
        {"headers": {"a": "b\0"}},
        {"headers": {"a": "b" * 70000}},
        {"headers": {"content-length": "1, 2"}},
        {"headers": {"content-length": ["1", "1"]}},
        {"headers": {"content-length": "-1"}},
    ],
)
def test_a_head_that_cannot_be_sent_is_the_workers_breach(answer: Any) -> None:
    """Whatever a worker returns becomes a head, or a ProtocolError: nothing else, and no second response."""
    with pytest.raises(trio_folk.ProtocolError):
        head_of(answer)


def test_a_head_may_be_said_in_several_ways() -> None:
    """A map, with lists or not; pairs; bytes or text; PHP's empty array. Hop-by-hop headers are dropped."""
    assert head_of({}).status == 200
    assert head_of({"headers": []}).headers == []
    assert head_of({"headers": {"A": ["1", "2"], "B": 3}}).headers == [
        (b"a", b"1"),
        (b"a", b"2"),
        (b"b", b"3"),
    ]
    assert head_of({"headers": [[b"A", " 1 "], ["Connection", "close"]]}).headers == [(b"a", b"1")]
    assert head_of({"headers": {"a": "\xe9"}}).headers == [(b"a", b"\xc3\xa9")]


def test_a_body_may_be_said_in_several_ways() -> None:
    """Bytes, text with escapes for bytes, base64, or nothing."""
    assert body_of({}) == b""
    assert body_of({"body": "\xe9"}) == b"\xc3\xa9"
    assert body_of({"body": "\udcff"}) == b"\xff"
    assert body_of({"body": "aGk=", "body_encoding": "base64"}) == b"hi"
    for wrong in (
        {"body": 3},
        {"body": "%", "body_encoding": "base64"},
        {"body": "", "body_encoding": "rot13"},
    ):
        with pytest.raises(trio_folk.ProtocolError):
            body_of(wrong)


@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (trio_folk.PoolBusy(""), 503, 1),
        (trio_folk.QueueTimeout(""), 503, 1),
        (trio_folk.PoolClosed(""), 503, 1),
        (trio_folk.CrashLoop("", retry_after=7.2), 503, 8),
        (trio_folk.CrashLoop("", retry_after=math.inf), 503, 3600),
        (trio_folk.ExecTimeout(""), 504, None),
        (trio_folk.WorkerDied(""), 502, None),
        (trio_folk.ProtocolError(""), 502, None),
        (trio_folk.ApplicationError(-32603, "secret"), 500, None),
        (Refused(413, "too long"), 413, None),
    ],
)
def test_each_end_has_its_status(error: Exception, status: int, again: float | None) -> None:
    """And a refusal says when to come back. What the error says is not for clients."""
    found, message, retry_after = outcome_of(error)
    assert (found, retry_after) == (status, again)
    assert "secret" not in message


def test_applications_make_sense() -> None:
    """A target with its object, an interface that exists, a number of requests."""
    for target, wrong in (("mysite", {}), ("a:b", {"interface": "cgi"}), ("a:b", {"concurrency": 0})):
        with pytest.raises(ValueError):
            application(target, **wrong)  # type: ignore[arg-type]


async def test_without_hypercorn_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra, or another server; and the socket is closed."""
    monkeypatch.setitem(sys.modules, "hypercorn.config", None)
    with pytest.raises(trio_folk.FolkError, match=r"trio-folk\[http\]"):
        await serve(trio_folk.TaskRuntime(), bind="127.0.0.1:0", slots=1)


@pytest.mark.parametrize(
    "address", ["nowhere", "127.0.0.1:http", "127.0.0.1:65536", "unix:/no/such/folder/s"]
)
async def test_an_address_that_makes_no_sense_costs_no_worker(address: str) -> None:
    """It is refused before anything is born."""
    runtime = FaultyRuntime()
    with pytest.raises(trio_folk.InvalidEndpoint):
        await serve(runtime, bind=["127.0.0.1:0", address])
    assert runtime.spawned == 0


def test_limits_make_sense() -> None:
    """Numbers above nothing, paths that are paths."""
    for wrong in ({"max_body": 0}, {"health": "healthz"}, {"keep_alive_timeout": math.inf}):
        with pytest.raises(ValueError):
            HttpConfig(**wrong)  # type: ignore[arg-type]

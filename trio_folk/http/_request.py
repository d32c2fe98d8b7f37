"""From an ASGI scope to the request that a worker gets, or the status that refuses it.

A client says what it likes. What goes on to an application has been measured, and says nothing about a connection
that the application does not have.

Invariants
    1. Headers that belong to one connection are dropped, and so are those that ``Connection`` names (RFC 9110, 7.6.1).
    2. What is refused never reaches a worker.

Knows scopes. Does not know bodies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._config import HttpConfig

__all__ = ["HOP_BY_HOP", "ClientGone", "Refused", "as_handled", "understood"]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade http2-settings expect".split()
)
Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """A request that is answered here, with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ClientGone(Exception):
    """The client has left before the end of its request, or does not take its response."""


def understood(scope: dict[str, Any], config: HttpConfig) -> dict[str, Any]:
    """The request, without its body.

    Raises:
        Refused: it is longer than allowed, or makes no sense.
    """
    headers: Headers = list(scope["headers"])
    path, query = _target(scope), bytes(scope.get("query_string", b""))
    if len(path) + len(query) > config.max_head:
        raise Refused(414, "the target of the request is too long")
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > config.max_headers or size > config.max_head:
        raise Refused(431, "the headers of the request are too many, or too long")
    length = _length(headers)
    if length > config.max_body:
        raise Refused(413, f"the body of a request is at most {config.max_body:,.0f} bytes")
    return {
        "method": scope["method"],
        "path": path,
        "query": query,
        "headers": _passed_on(headers),
        "scheme": scope.get("scheme", "http"),
        "http_version": scope.get("http_version", "1.1"),
        "client": _peer(scope.get("client")),
        "server": _peer(scope.get("server")),
        "root_path": config.root_path,
        "body": b"",
    }


def as_handled(request: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The request as workers get it that have ``http.handle``: Folk's form, each header once and as text."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request["headers"]:
        name, value = _text(raw_name), _text(raw_value)
        mark = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{mark}{value}" if name in headers else value
    uri = request["path"] + (b"?" + request["query"] if request["query"] else b"")
    return {"method": request["method"], "uri": _text(uri), "headers": headers, "body": body}


def _target(scope: dict[str, Any]) -> bytes:
    raw = scope.get("raw_path")
    path = scope["path"].encode() if raw is None else bytes(raw)
    if not path.startswith(b"/") and b"://" in path:  # the absolute form is for proxies (RFC 9112, 3.2.2)
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    if not path.startswith(b"/") and path != b"*":
        raise Refused(400, "the target of the request is no path")
    return path


def _length(headers: Headers) -> int:
    """What the body says that it has."""
    told = {value for name, value in headers if name.lower() == b"content-length"}
    if not told:
        return 0
    value = told.pop()
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):  # two ends: RFC 9112, 6.1
        raise Refused(400, "the body has a length and comes in chunks")
    if told or not value.isdigit() or len(value) > 18:
        raise Refused(400, "the length of the body makes no sense")
    return int(value)


def _passed_on(headers: Headers) -> list[list[bytes]]:
    dropped = HOP_BY_HOP | set(_named(headers))
    lowered = ((bytes(name).lower(), bytes(value)) for name, value in headers)
    return [[name, value] for name, value in lowered if name not in dropped]


def _named(headers: Headers) -> Iterable[bytes]:
    """The headers that ``Connection`` says belong to it; it may not take away what a request is made of."""
    for name, value in headers:
        if name.lower() == b"connection":
            for token in value.lower().split(b","):
                if token.strip() not in (
                    b"host",
                    b"content-length",
                    b"content-type",
                    b"authorization",
                    b"cookie",
                ):
                    yield token.strip()


def _peer(address: Any) -> list[Any] | None:
    return list(address[:2]) if address else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")

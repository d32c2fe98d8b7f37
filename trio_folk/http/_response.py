"""The response that a worker gives, checked before a byte of it leaves.

A header with a line break in it is two responses to whoever reads it, and a length that is not kept makes the next
response a part of this one. Workers run applications, and applications pass on what clients have said.

Invariants
    1. A status is one of a final response; names are tokens, values have no control characters (RFC 9110, 5.5 and
       5.6.2).
    2. What belongs to the connection is the server's to say.
    3. No more bytes leave than the head has promised.

Knows what workers return. Does not know how it is sent.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .._errors import ProtocolError
from ._request import HOP_BY_HOP

__all__ = ["Head", "body_of", "head_of", "piece_of"]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MOST = 65536  # bytes of all headers
_BODILESS = (204, 304)


@attrs.frozen
class Head:
    """Status and headers.

    Attributes:
        length: how many bytes of a body it promises, or None where it does not say.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None

    def with_length(self, length: int) -> Head:
        """The same, with the length of a body that is known as a whole.

        Raises:
            ProtocolError: it promises another one.
        """
        if self.length is None and self.status not in _BODILESS:
            return Head(self.status, [*self.headers, (b"content-length", b"%d" % length)], length)
        if self.length is not None and self.length != length and length:
            raise ProtocolError(f"a response of {length} bytes, whose head promises {self.length}")
        return self


def head_of(answer: Any) -> Head:
    """The head in what a worker returned.

    Raises:
        ProtocolError: it is none.
    """
    if not isinstance(answer, Mapping):
        raise ProtocolError(f"a response is a map with status, headers and body, not {answer!r:.100}")
    status = answer.get("status", 200)
    if type(status) is not int or not 200 <= status <= 599:
        raise ProtocolError(f"the status of a response is a number from 200 to 599, not {status!r:.100}")
    headers = [pair for pair in map(_checked, _pairs(answer.get("headers"))) if pair[0] not in HOP_BY_HOP]
    if sum(len(name) + len(value) for name, value in headers) > _MOST:
        raise ProtocolError(f"the headers of a response are longer than {_MOST} bytes")
    return Head(status, headers, _length(headers))


def body_of(answer: Mapping[str, Any]) -> bytes:
    """The body in what a worker returned.

    Raises:
        ProtocolError: it is none.
    """
    body = answer.get("body")
    if body is None:
        return b""
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    if not isinstance(body, bytes):
        raise ProtocolError(f"the body of a response is bytes or a string, not {body!r:.100}")
    match answer.get("body_encoding"):
        case None:
            return body
        case "base64":
            try:
                return base64.b64decode(body, validate=True)
            except binascii.Error as error:
                raise ProtocolError(f"the body of a response is not what it says, base64: {error}") from None
        case encoding:
            raise ProtocolError(f"the body of a response is encoded as {encoding!r:.100}, which nobody knows")


def piece_of(item: Any) -> tuple[bytes, bool]:
    """The bytes in an item of a response, and whether it says that no more follow.

    Raises:
        ProtocolError: it is no such item.
    """
    if isinstance(item, bytes):
        return item, False
    if not isinstance(item, Mapping):
        raise ProtocolError(f"a piece of a response is bytes or a map, not {item!r:.100}")
    return body_of(item), item.get("last") is True


def _pairs(headers: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs, from a list of them, or a map whose values may be lists; PHP's empty map is an empty list."""
    if headers is None:
        return
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            for each in value if isinstance(value, list) else [value]:
                yield name, each
        return
    if not isinstance(headers, list):
        raise ProtocolError(f"the headers of a response are a map or a list of pairs, not {headers!r:.100}")
    for pair in headers:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ProtocolError(f"a header of a response is a pair, not {pair!r:.100}")
        yield pair[0], pair[1]


def _checked(pair: tuple[Any, Any]) -> tuple[bytes, bytes]:
    name, value = map(_as_bytes, pair)
    value = value.strip(b" \t")
    if not _TOKEN.fullmatch(name):
        raise ProtocolError(f"{name!r:.100} is no name of a header")
    if not _VALUE.fullmatch(value):
        raise ProtocolError(f"the header {name!r:.100} has a value with control characters: {value!r:.100}")
    return name.lower(), value


def _as_bytes(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, str):
        return part.encode("utf-8", "surrogateescape")
    if type(part) in (int, float):
        return str(part).encode()
    raise ProtocolError(f"a header of a response is text, not {part!r:.100}")


def _length(headers: list[tuple[bytes, bytes]]) -> int | None:
    told = [value for name, value in headers if name == b"content-length"]
    if not told:
        return None
    if len(told) > 1 or not told[0].isdigit() or len(told[0]) > 18:
        raise ProtocolError(f"the content-length of a response is one number, not {b', '.join(told)!r:.100}")
    return int(told[0])

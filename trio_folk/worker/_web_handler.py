"""A worker's own ``http.handle``, offered as ``http.serve``: it gets its body whole, and returns its response whole.

Knows a method and what it is fed. Does not know what is in a request, but for its body.
"""

from __future__ import annotations

from ._current import current_call
from ._dispatch import bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from ._worker import Method

__all__ = ["serve_by"]


def serve_by(method: Method) -> Callable[[dict[str, Any]], Generator[Any, None, Any]]:
    """A generator that gives nothing, and returns what this method does."""

    def serve(request: dict[str, Any]) -> Generator[Any, None, Any]:
        pieces = [request["body"]]
        call = current_call()
        while call.fed and (piece := call.receive()):
            pieces.append(piece)
        args, kwargs = bind(method, _as_handled(request, b"".join(pieces)))
        yield from ()
        return method.fn(*args, **kwargs)

    return serve


def _as_handled(request: dict[str, Any], body: bytes) -> dict[str, Any]:
    """A request in the form that Folk gives it."""
    headers: dict[str, str] = {}
    for name, value in request["headers"]:
        known, text = _text(name), _text(value)
        mark = "; " if known == "cookie" else ", "
        headers[known] = f"{headers[known]}{mark}{text}" if known in headers else text
    uri = request["path"] + (b"?" + request["query"] if request["query"] else b"")
    return {"method": request["method"], "uri": _text(uri), "headers": headers, "body": body}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")

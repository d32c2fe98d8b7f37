"""WSGI (PEP 3333): an application is called with an environ, and what it gives back leaves as it comes.

A response that says that it is small is gathered, and is one reply; of any other each block leaves before the next is
asked for.

Invariants
    1. Whatever becomes of a response, its iterable was closed.
    2. Once a block has left, the head is not replaced any more.
    3. No header of a client passes for another one: those with an underscore are dropped, and so is Proxy.

Knows WSGI. Does not know how requests come.
Picture: docs/design/http.md
"""

from __future__ import annotations

import sys
from urllib.parse import unquote_to_bytes

from ._web_body import body_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

__all__ = ["LARGEST", "SMALL", "Wsgi", "environ_of"]

SMALL = 65536
"""Bytes of a response that is one reply, if its head says that it has no more."""
LARGEST = 262144
"""Bytes of a block that leaves as it is; a larger one is cut."""
_MOST_WRITTEN = 1 << 20  # by write(), before the first block


class Wsgi:
    """One application.

    Args:
        app: what is called.
        threads: whether it may be called by several threads at once.
    """

    def __init__(self, app: Callable[..., Any], *, threads: bool) -> None:
        self._app = app
        self._threads = threads

    def serve(self, request: dict[str, Any]) -> Generator[Any, None, Any]:
        """Give the response, its head first; or return it whole."""
        response = _Response()
        blocks = self._app(environ_of(request, threads=self._threads), response.start)
        try:
            rest = iter(blocks)
            first = response.written + next(filter(None, rest), b"")
            head = response.leave()
            if response.is_small(blocks):
                pieces = [first]
                size = len(first)
                for block in rest:
                    pieces.append(block)
                    size += len(block)
                    if size > SMALL:
                        break
                else:
                    return {**head, "body": b"".join(pieces)}
                first = b"".join(pieces)
            yield {**head, "body": first[:LARGEST]}
            yield from _cut(first[LARGEST:])
            for block in rest:
                yield from _cut(block)
            return None
        finally:
            if hasattr(blocks, "close"):
                blocks.close()


def _cut(block: bytes) -> Iterator[bytes]:
    for start in range(0, len(block), LARGEST):
        yield block[start : start + LARGEST] if len(block) > LARGEST else block


class _Response:
    """The head of a response, as the application says it."""

    def __init__(self) -> None:
        self.written = b""
        self._head: dict[str, Any] | None = None
        self._left = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        """``start_response``."""
        try:
            if exc_info is not None and self._left:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info, replaces = None, exc_info is not None  # no circle with this frame
        if self._head is not None and not replaces:
            raise RuntimeError("start_response was called twice, without an exc_info")
        pairs = [[name.encode("latin-1"), value.encode("latin-1")] for name, value in headers]
        self._head = {"status": int(status.split(" ", 1)[0]), "headers": pairs}
        return self._write

    def _write(self, data: bytes) -> None:
        if self._left or len(self.written) + len(data) > _MOST_WRITTEN:
            raise RuntimeError(
                f"write() is for the first {_MOST_WRITTEN} bytes of a body: give an iterable instead"
            )
        self.written += data

    def leave(self) -> dict[str, Any]:
        """The head, which is final from now on."""
        if self._head is None:
            raise RuntimeError("the application did not call start_response before its first block")
        self._left = True
        return self._head

    def is_small(self, blocks: Any) -> bool:
        """Whether all of it is there, or is said to be little."""
        if type(blocks) in (list, tuple) and len(blocks) <= 1:
            return True
        assert self._head is not None, "asked after leave()"
        for name, value in self._head["headers"]:
            if name.lower() == b"content-length":
                return bool(value.isdigit() and len(value) < 9 and int(value) <= SMALL)
        return False


def environ_of(request: dict[str, Any], *, threads: bool) -> dict[str, Any]:
    """The environ of a request."""
    root = request["root_path"]
    path = unquote_to_bytes(request["path"]).decode("latin-1")
    server, client = request["server"] or ("localhost", None), request["client"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path.removeprefix(root),
        "QUERY_STRING": request["query"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{request['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request["scheme"],
        "wsgi.input": body_of(request["body"]),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    for name, value in request["headers"]:
        _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    key = name.upper().replace("-", "_")
    if "_" in name or key == "PROXY":  # invariant 3; CVE-2016-5385
        return
    if key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        key = f"HTTP_{key}"
    if key in environ:
        value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
    environ[key] = value

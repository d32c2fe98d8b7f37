"""Conformance: whether a backend keeps the contract, found out by binding and serving it for a moment.

What `BrokeredBackend` looks at when a class is made is its shape. What its bind does, and whether its serve serves what
it was given, shows only when they run: run this in the tests of whatever you write.

Does not find a serve that ignores being cancelled: it would hang with it.

Knows the contract. Does not know pytest.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress

import trio

from .._errors import AlreadyBound, BindError
from ._contract import BrokeredBackend, check_shape
from ._inspection import BIND_LIMIT, BindReport, inspect_bind
from ._listener import BackendListener

__all__ = ["ConformanceError", "check_backend"]

BINDS = 3
"""How often bind is tried; the fastest counts."""

Bind = Callable[[str], socket.socket]


class ConformanceError(AssertionError):
    """A backend does not keep the contract.

    Attributes:
        problems: in what, a sentence each.
    """

    def __init__(self, name: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(
            f"{name} does not keep the contract:" + "".join(f"\n  - {each}" for each in problems)
        )
        self.problems = problems


async def check_backend(backend: type[BrokeredBackend], *, timeout: float = 10.0) -> float:
    """Bind and serve it in a temporary directory; returns the seconds that bind took.

    Args:
        backend: the class.
        timeout: seconds that it may take to become ready, and then to take a connection.

    Raises:
        ConformanceError: it does not keep the contract; names all that was found.

    Always a checkpoint. Cancellation: the directory is removed.
    """
    name = backend.__qualname__
    await trio.lowlevel.checkpoint()
    try:
        check_shape(backend)
    except TypeError as error:
        raise ConformanceError(name, (str(error),)) from error
    with tempfile.TemporaryDirectory(prefix="backend-") as folder:
        reports = [_bind(backend.bind, os.path.join(folder, f"{number}.sock")) for number in range(BINDS)]
        problems = [each for report in reports for each in report.touched]
        fastest = min(report.seconds for report in reports)
        if fastest > BIND_LIMIT:
            problems.append(f"bind takes {fastest:.3g} s, and may take {BIND_LIMIT:g}")
        if not problems:
            problems += _failures(backend.bind, folder)
        if problems:
            raise ConformanceError(name, tuple(dict.fromkeys(problems)))
        if problems := await _serve(backend, os.path.join(folder, "served.sock"), timeout):
            raise ConformanceError(name, tuple(problems))
    return fastest


def _bind(bind: Bind, endpoint: str) -> BindReport:
    report = inspect_bind(bind, endpoint)
    if report.error is not None and not report.touched:
        report.touched.append(f"bind failed where it could have bound: {report.error!r}")
    elif not report.touched:
        report.touched += _about(report.listener, endpoint)
    if isinstance(report.listener, socket.socket):
        report.listener.close()
    return report


def _about(listener: object, endpoint: str) -> list[str]:
    """What is wrong with what bind returned, and left at the path."""
    if not isinstance(listener, socket.socket):
        return [f"bind returned {listener!r:.60}, and not a socket"]
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return ["bind returned a socket that does not listen: whoever connects is refused"]
    if listener.getsockname() != endpoint:
        return [f"bind bound {listener.getsockname()!r}, and was told {endpoint!r}"]
    if stat.S_IMODE(os.lstat(endpoint).st_mode) & 0o077:
        return ["bind left a socket that others may connect to: its mode is to be 0600"]
    return []


def _failures(bind: Bind, folder: str) -> list[str]:
    """Whether bind fails where it cannot succeed, and leaves alone what lives."""
    problems = []
    listener: object = None
    try:
        listener = bind(os.path.join(folder, "missing", "x.sock"))
        problems.append("bind returned although there is no such directory: its failure has to be raised")
    except BindError:
        pass
    except Exception as error:
        problems.append(f"bind raised {error!r} where there is no directory, and is to raise a BindError")
    if isinstance(listener, socket.socket):
        listener.close()
    return problems + _theft(bind, os.path.join(folder, "live.sock"))


def _theft(bind: Bind, endpoint: str) -> list[str]:
    second: object = None
    with bind(endpoint):
        before = os.lstat(endpoint).st_ino
        try:
            second = bind(endpoint)
        except AlreadyBound:
            problems = []
        except Exception as error:
            problems = [f"bind raised {error!r} on an endpoint that lives, and is to raise AlreadyBound"]
        else:
            problems = ["bind took an endpoint that lives"]
        with suppress(FileNotFoundError):
            if not problems and os.lstat(endpoint).st_ino == before:
                return []
    if isinstance(second, socket.socket):
        second.close()
    return problems or ["bind removed an endpoint that lives"]


async def _serve(backend: type[BrokeredBackend], endpoint: str, timeout: float) -> list[str]:
    problems: list[str] = []
    with backend.bind(endpoint) as sock:
        try:
            async with trio.open_nursery() as nursery:
                listener = BackendListener(nursery)
                listener.open_door(sock)
                problems += await _ready(nursery, backend, listener, timeout)
                if not problems:
                    problems += await _takes(listener, endpoint, timeout)
                nursery.cancel_scope.cancel()
        except* RuntimeError as group:
            problems.append(f"serve ended before it said that it is ready: {group.exceptions[0]!r}")
        except* Exception as group:
            problems.append(f"serve failed: {group.exceptions[0]!r}")
    return problems


async def _ready(
    nursery: trio.Nursery, backend: type[BrokeredBackend], listener: BackendListener, timeout: float
) -> list[str]:
    with trio.move_on_after(timeout):
        await nursery.start(_run, backend(), listener)
        return []
    return [f"serve did not call task_status.started() within {timeout:g} s: it is never ready"]


async def _run(
    backend: BrokeredBackend, listener: BackendListener, *, task_status: trio.TaskStatus[None]
) -> None:
    await backend.serve(listener, task_status=task_status)
    raise ValueError("serve returned, and is to serve until it is cancelled")


async def _takes(listener: BackendListener, endpoint: str, timeout: float) -> list[str]:
    async with await trio.open_unix_socket(endpoint):
        with trio.move_on_after(timeout):
            while not listener.taken:
                await listener.changed.wait()
            return []
    return [f"serve did not accept a connection within {timeout:g} s"]

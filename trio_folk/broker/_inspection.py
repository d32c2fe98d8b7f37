"""Inspection: a bind watched while it runs: how long it takes, and whether it touches what it must not.

"Microseconds, and nothing but the endpoint" is a promise that a signature cannot keep. So in conformance mode an audit
hook, sys.addaudithook, fails whatever opens, connects, runs or sleeps inside of bind, and the clock is read.

What does not work
    Removing the hook: Python has no way to. So there is one, and outside of an inspected bind it does nothing.

Knows bind as a function. Does not know backends.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

__all__ = ["BIND_LIMIT", "BindReport", "inspect_bind"]

BIND_LIMIT = 0.05
"""Seconds within which a bind is to be done; it takes a thousandth of that."""
NEVER = 5.0
"""Seconds after which an inspected bind is taken for one that never returns."""

_FORBIDDEN = {
    "open": "opens a file",
    "socket.connect": "connects",
    "socket.getaddrinfo": "looks a name up",
    "socket.sendto": "sends",
    "socket.sendmsg": "sends",
    "subprocess.Popen": "runs a program",
    "os.posix_spawn": "runs a program",
    "os.exec": "runs a program",
    "os.system": "runs a program",
    "os.fork": "forks",
    "os.listdir": "reads a directory",
    "os.scandir": "reads a directory",
    "os.remove": "removes a file, perhaps a live endpoint",
    "os.rename": "renames a file, perhaps a live endpoint",
    "time.sleep": "sleeps",
    "sqlite3.connect": "opens a database",
}


@attrs.define
class BindReport:
    """What an inspected bind did.

    Attributes:
        seconds: how long it took.
        touched: what it did that it must not, in words.
        listener: what it returned.
        error: what it raised.
    """

    seconds: float = 0.0
    touched: list[str] = attrs.field(factory=list)
    listener: Any = None
    error: Exception | None = None


class _NeverReturns(BaseException):
    pass


_inspected: tuple[int, BindReport] | None = None
_hooked = False


def inspect_bind(bind: Callable[[str], socket.socket], endpoint: str) -> BindReport:
    """Bind while being watched. In the main thread a bind that never returns is broken off."""
    global _inspected
    _hook()
    report = BindReport()
    _inspected = (threading.get_ident(), report)
    began = time.perf_counter()
    try:
        with _alarm():
            report.listener = bind(endpoint)
    except Exception as error:
        report.error = error
    except _NeverReturns:
        report.touched.append(f"has not returned within {NEVER:g} s")
    finally:
        report.seconds = time.perf_counter() - began
        _inspected = None
    return report


def _hook() -> None:
    global _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _inspected is None or event not in _FORBIDDEN or _inspected[0] != threading.get_ident():
        return
    what = f"{_FORBIDDEN[event]} ({event}{f' {args[0]!r:.60}' if args else ''})"
    _inspected[1].touched.append(what)
    raise PermissionError(f"bind {what}: it may do nothing but bind the endpoint")


@contextmanager
def _alarm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _NeverReturns

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, NEVER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

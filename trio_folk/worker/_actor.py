"""A worker without descriptors: whoever carries the frames calls its methods, each in a thread of its own kind.

Ray brings arguments and takes results; it has no sockets to lend. So the frames of the wire come in here as arguments
and leave as results, and what a running call is told or has to say goes through calls beside it.

    call    a request, and what must come before it; returns the reply. One thread for each call at once
    pull    what a call says before its reply, as soon as there is any; waits in a thread of its own
    tell    what a running call is told: cancelled, enough, more credit; never waits
    beat    answers, however busy the calls are
    vigil   returns when the worker is let go; that it breaks off says that the worker has died

Knows the wire and the loop of synchronous calls. Does not know Ray, sockets or trio.
Picture: docs/design/ray.md
"""

from __future__ import annotations

import os
import sys
import threading

from .._errors import ProtocolError
from .._wire import MessageDecoder, Notify, Request, encode_notify
from ._actor_loans import Loans
from ._actor_outlet import Outlets
from ._current import REVOKE, Adopted, Running, only
from ._dispatch import EXECUTE, answer, cancelled, unwrap
from ._python import Functions
from ._stream import stream
from ._target import TargetError, load_target
from ._worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ._progress import Reports

__all__ = ["Actor"]

FEATURES = ("python", "cancel", "meta", "stream", "feed", "progress", "buffers", "order", "revoke")
_TALKS = frozenset({"stream", "progress"})  # whoever asks for one of these pulls
_TEXT = 65536  # characters of a message or traceback
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Actor:
    """One worker.

    Args:
        target: ``"module:object"``, or None for a worker that runs functions only.
        limit: the longest frame, in bytes.
        transfer: as what large buffers arrive.
        path: the parent's ``sys.path``; what of it is missing here is added behind the worker's own.
        package: the name of the folder with the code that was shipped for this worker, or "".
        where: tells the node it is on.
    """

    def __init__(
        self,
        target: str | None,
        limit: int,
        transfer: str,
        path: Sequence[str],
        package: str,
        where: Callable[[], Any],
    ) -> None:
        self._target = target
        self._limit = limit
        self._where = where
        self._running = Running()
        self._running.tell = self._report
        self._running.write = self._say
        self._outlets = Outlets()
        self._loans = Loans(transfer)
        self._functions = Functions(self._loans)
        self._released = threading.Event()
        _extend_path(path, package)

    def ready(self) -> tuple[bytes, str]:
        """What it says first, and the id of its node: that it is ready, or why it cannot be."""
        node = str(self._where().get_node_id())
        try:
            self._worker = load_target(self._target) if self._target else Worker()
        except TargetError as error:
            return self._failed(error.kind, error.message, error.traceback), node
        if self._worker.needs_trio:
            message = (
                f"{self._target!r} has async methods or a concurrency of {self._worker.concurrency}: on Ray a worker "
                "runs synchronous methods, one at a time"
            )
            return self._failed("TypeError", message, ""), node
        only(self._running)
        folk = {"v": 1, "features": FEATURES, "concurrency": 1}
        return encode_notify("control.ready", {"pid": os.getpid(), "folk": folk}), node

    def call(self, frames: bytes, beside: Sequence[Any] = ()) -> Any:
        """Answer the request in these frames.

        Args:
            beside: the buffers that it was lent.

        Returns:
            The frame of the reply, or nothing for a call that was given back; as the first of two, where buffers
            come beside it.

        Raises:
            ProtocolError: they are not what a worker is sent.
        """
        reply = None
        for message in MessageDecoder(self._limit).feed(frames):
            if type(message) is Request:
                self._loans.given = beside
                reply = self._answer(message)
            elif type(message) is Notify:
                self._functions.hear(message)
        if reply is None:
            raise ProtocolError("a call without a request")
        self._loans.given = ()  # of a call that was given back
        lent = self._loans.take()
        return (reply, lent) if lent else reply

    def pull(self, msgid: int) -> bytes:
        """What this call says before its reply; nothing when it is through."""
        return self._outlets.pull(msgid)

    def tell(self, frame: bytes) -> bytes | None:
        """News for a running call; or which calls to give back, which is answered."""
        for message in MessageDecoder(self._limit).feed(frame):
            if type(message) is Notify and message.method == REVOKE:
                return encode_notify("folk.revoked", self._running.revoke(message.params))
            if type(message) is Notify:
                self._running.hear(message)
        return None

    def beat(self) -> int:
        """It is alive; its resident memory in bytes."""
        try:
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            return 0

    def vigil(self) -> None:
        """Return when it is let go."""
        self._released.wait()

    def release(self) -> None:
        """Let it go: nothing holds it but the calls that run."""
        self._released.set()

    def _answer(self, request: Request) -> bytes:
        running, msgid = self._running, request.msgid
        running.begun = running.msgid = msgid
        try:
            if running.revoked and running.was_given_back(msgid):
                return b""
            if running.cancelled or request.method == EXECUTE:
                return self._answer_with_care(request)
            return answer(self._worker, self._functions, request, self._limit)
        finally:
            running.settle(msgid)
            running.msgid = 0

    def _answer_with_care(self, request: Request) -> bytes:
        """Answer a request that came with circumstances, or one that may have been cancelled before it began."""
        running, msgid = self._running, request.msgid
        inner = unwrap(request, running, self._limit) if request.method == EXECUTE else request
        try:
            if msgid in running.cancelled:
                return cancelled(msgid, self._limit)
            with Adopted(self._worker._context, running.circumstances(msgid)[1]):
                if isinstance(inner, bytes):
                    return inner
                if msgid in running.streams:
                    return self._stream(inner)
                return answer(self._worker, self._functions, inner, self._limit)
        finally:
            self._outlets.put(msgid, running.close_reports(msgid))
            if type(request.params) is dict and not _TALKS.isdisjoint(request.params):
                self._outlets.close(msgid)

    def _stream(self, request: Request) -> bytes:
        msgid = request.msgid
        reports = self._running.reports.get(msgid)

        def write(frame: bytes) -> None:
            if reports is None:
                self._outlets.put(msgid, frame)
            else:
                reports.alone(lambda each: self._outlets.put(msgid, each), frame)

        return stream(self._worker, request, self._running.streams[msgid], self._limit, write)

    def _report(self, reports: Reports) -> None:
        self._say(reports.take())

    def _say(self, frame: bytes) -> None:
        self._outlets.put(self._running.msgid, frame)

    def _failed(self, kind: str, message: str, traceback: str) -> bytes:
        told = {"type": kind[:100], "message": message[:_TEXT], "traceback": traceback[-_TEXT:]}
        return encode_notify("folk.failed", told)


def _extend_path(path: Sequence[str], package: str) -> None:
    """Shipped code before everything else: Ray puts the driver's own folders in front of it."""
    shipped = [each for each in sys.path if package and os.path.basename(each) == package]
    others = [each for each in sys.path if each not in shipped]
    sys.path[:] = [*shipped, *others, *(each for each in path if each not in sys.path)]

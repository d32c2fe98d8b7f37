"""The call that runs now, for the code that it runs: has it been cancelled, how long has it, what came with it.

A cancellation cannot stop a function that computes; the function can ask. Trio is not in a worker whose
methods are all synchronous, so what `checkpoint` raises there is an exception of ours.

Invariants
    1. A call that was answered is not cancelled any more, and never the next one in its place.
    2. What came before its request is remembered until then, and never grows without bound.
    3. A call was either begun or given back, and both threads agree on which.

Knows msgids and a clock. Does not know how calls come or are answered.
"""

from __future__ import annotations

import _thread
import time
from _contextvars import ContextVar  # the module around it adds nothing

from .._wire import encode_notify
from ._credit import Credit
from ._progress import Reports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .._wire import Notify
    from ._feed import Feed

__all__ = [
    "CANCEL",
    "REVOKE",
    "Adopted",
    "CallCancelled",
    "CurrentCall",
    "Running",
    "current_call",
    "entered",
    "only",
]

CANCEL, END, CREDIT, REVOKE = "folk.cancel", "folk.end", "folk.credit", "folk.revoke"
PIECE = "folk.piece"
_TRACE = "traceparent"
_REMEMBERED = 1024  # cancellations; those of calls already answered stay until there are so many
_NO_CONTEXT: Mapping[str, Any] = {}
_INF = float("inf")
_MASK, _HALF = (
    0xFFFF_FFFF,
    0x8000_0000,
)  # msgids grow, and wrap: less than half of them apart says which was first


class CallCancelled(BaseException):
    """Raised by `CurrentCall.checkpoint` when the caller has given the call up. Let it pass, as trio's Cancelled.

    A BaseException, so that ``except Exception`` does not swallow it. In async methods trio's own is raised.
    """


class Running:
    """What is known of a worker's calls, while its loop runs them.

    Attributes:
        msgid: of the call that a loop of one call at a time runs now.
        begun: the newest call that such a loop has begun; written before `revoked` is looked at.
        cancelled: what nobody wants any more.
        revoked: what was given back before it came.
        on_cancel: told each cancelled msgid, in the thread that reads the control channel.
        tell: told what a call has to report, in whatever thread reports.
        write: writes a frame on the task channel, in whatever thread a call runs.
        soon: calls a function in trio's thread, where trio runs the calls.
        may_block: whether synchronous code may wait for its caller, who is not in the same thread.
        streams: the credit of the calls that give items one by one.
        feeds: of the calls that are given more than their request.
        reports: of the calls whose callers want to know how far they are.
    """

    def __init__(self) -> None:
        self.msgid = 0
        self.begun = 0
        self.on_cancel: Callable[[int], object] | None = None
        self.tell: Callable[[Reports], object] = Reports.take  # to nobody
        self.cancelled: set[int] = set()
        self.write: Callable[[bytes], object] = len  # to nobody
        self.soon: Callable[[Callable[[], None]], object] = lambda fn: fn()
        self.may_block = True
        self.streams: dict[int, Credit] = {}
        self.feeds: dict[int, Feed] = {}
        self.reports: dict[int, Reports] = {}
        self.revoked: set[int] = set()
        self._settling = _thread.allocate_lock()
        self._circumstances: dict[int, tuple[float, Mapping[str, Any]]] = {}

    def hear(self, message: Notify) -> None:
        """Something has come on the control channel."""
        method, params = message
        if method == CANCEL:
            self.cancel(params)
        elif method == END:
            self._end(params)
        elif method == CREDIT:
            self._grant(params)
        elif method == PIECE:
            self._feed(params)

    def cancel(self, params: object) -> None:
        """The params of ``folk.cancel`` have come."""
        msgid = _msgid_in(params)
        if msgid is None:
            return
        if len(self.cancelled) >= _REMEMBERED:
            self.cancelled.clear()  # nearly all are of calls long answered
        self.cancelled.add(msgid)
        for waiting in (self.streams.get(msgid), self.feeds.get(msgid)):
            if waiting is not None:
                waiting.stir()
        if self.on_cancel is not None:
            self.on_cancel(msgid)

    def _end(self, params: object) -> None:
        """Nobody wants more of a stream, whose method cannot tell that from a cancellation."""
        credit = self.streams.get(_msgid_in(params) or 0)
        if credit is not None:
            credit.ended = True
        self.cancel(params)

    def _grant(self, params: object) -> None:
        credit = self.streams.get(_msgid_in(params) or 0)
        more = params.get("credit") if isinstance(params, dict) else None
        if credit is not None and type(more) is int and more > 0:
            credit.grant(more)

    def _feed(self, params: object) -> None:
        """Something has come for a call that reads it; or that is over, and then it means nothing."""
        feed = self.feeds.get(_msgid_in(params) or 0)
        if feed is None or not isinstance(params, dict):
            return
        piece = params.get("data")
        if type(piece) is bytes and piece:
            feed.put(piece)
        if params.get("end") is True:
            feed.end()

    def note_feed(self, msgid: int) -> None:
        """This call is given more than its request, when it asks for it."""
        from ._feed import Feed  # most workers are never fed

        self.feeds[msgid] = feed = Feed(msgid, self.cancelled)
        feed.want = lambda pieces: self._want(msgid, pieces)

    def _want(self, msgid: int, pieces: int) -> None:
        frame = encode_notify("folk.want", [msgid, pieces])
        reports = self.reports.get(msgid)
        if reports is None:
            self.write(frame)
        else:
            reports.alone(self.write, frame)

    def note_stream(self, msgid: int, credit: int) -> None:
        """This call gives items one by one, so many before it needs more credit."""
        self.streams[msgid] = Credit(msgid, credit, self.cancelled)

    def note_reports(self, msgid: int) -> None:
        """This call's caller wants to know how far it is."""
        self.reports[msgid] = Reports(msgid, self.tell)

    def revoke(self, params: object) -> dict[str, list[int]]:
        """The params of ``folk.revoke`` have come; those of the answer.

        For the thread that reads the control channel. Each call is given back, and never begun, or it is too late.
        """
        asked = params.get("msgids") if isinstance(params, dict) else None
        given_back: list[int] = []
        too_late: list[int] = []
        for msgid in asked if isinstance(asked, list) else ():
            if type(msgid) is int:
                (given_back if self._give_back(msgid) else too_late).append(msgid)
        return {"msgids": given_back, "late": too_late}

    def _give_back(self, msgid: int) -> bool:
        with self._settling:
            self.revoked.add(msgid)
            if (self.begun - msgid) & _MASK >= _HALF and len(self.revoked) <= _REMEMBERED:
                return True
            self.revoked.discard(msgid)  # it has begun; or somebody gives back what he never sent
            return False

    def was_given_back(self, msgid: int) -> bool:
        """Whether the call that was just written to `begun` must not begin after all. For the loop."""
        with self._settling:
            if msgid in self.revoked:
                self.revoked.discard(msgid)
                return True
            return False

    def note(self, msgid: int, deadline: float, context: Mapping[str, Any]) -> None:
        """What came with a call."""
        self._circumstances[msgid] = deadline, context

    def settle(self, msgid: int) -> None:
        """The call is about to be answered."""
        self.cancelled.discard(msgid)
        self._circumstances.pop(msgid, None)
        if self.streams:
            self.streams.pop(msgid, None)
        if self.feeds:
            self.feeds.pop(msgid, None)

    def close_reports(self, msgid: int) -> bytes:
        """No more is told of this call; returns what belongs in front of its reply."""
        reports = self.reports.pop(msgid, None)
        return b"" if reports is None else reports.close()

    def circumstances(self, msgid: int) -> tuple[float, Mapping[str, Any]]:
        """Until when, and with what; `time.monotonic` is the clock."""
        return self._circumstances.get(msgid, (_INF, _NO_CONTEXT))


def _msgid_in(params: object) -> int | None:
    msgid = params.get("msgid") if isinstance(params, dict) else None
    return msgid if type(msgid) is int else None


class Adopted:
    """``with Adopted(variables, values):`` has these variables set, for one call, and goes on in its caller's trace."""

    __slots__ = ("_leave_trace", "_tokens", "_values", "_variables")

    def __init__(self, variables: Mapping[str, ContextVar[Any]], values: Mapping[str, Any]) -> None:
        self._variables = variables
        self._values = values

    def __enter__(self) -> None:
        shared = [
            (self._variables[name], value) for name, value in self._values.items() if name in self._variables
        ]
        self._tokens = [(variable, variable.set(value)) for variable, value in shared]
        self._leave_trace = _enter_trace(self._values) if _TRACE in self._values else None

    def __exit__(self, *_: object) -> None:
        if self._leave_trace is not None:
            self._leave_trace()
        for variable, token in self._tokens:
            variable.reset(token)


_enter: Callable[[Mapping[str, Any]], Callable[[], None] | None] | None = None


def _enter_trace(values: Mapping[str, Any]) -> Callable[[], None] | None:
    global _enter
    if _enter is None:
        _enter = _find_enter()
    return _enter(values)


def _find_enter() -> Callable[[Mapping[str, Any]], Callable[[], None] | None]:
    try:
        from ._tracing import enter
    except ImportError:
        return lambda values: None  # OpenTelemetry is not installed here
    return enter


class CurrentCall:
    """The running call; from `current_call`."""

    __slots__ = ("_context", "_deadline", "_msgid", "_running")

    def __init__(self, running: Running, msgid: int) -> None:
        self._running = running
        self._msgid = msgid
        self._deadline, self._context = running.circumstances(msgid)

    def __repr__(self) -> str:
        left = "no deadline" if self._deadline == _INF else f"{self.remaining():.3g} s left"
        return f"<CurrentCall {self._msgid}: {'cancelled' if self.cancelled else left}>"

    @property
    def cancelled(self) -> bool:
        """Whether the caller has given it up. A thread of this process reads that; it costs nothing to ask."""
        return self._msgid in self._running.cancelled

    @property
    def context(self) -> Mapping[str, Any]:
        """The values of the context variables that the caller's runtime passes along, by their names."""
        return self._context

    def remaining(self) -> float:
        """Seconds until the caller gives up, not below 0; ``math.inf`` where it does not.

        The caller's clock started it and this process counts on, so it is late by the time on the way.
        """
        return max(self._deadline - time.monotonic(), 0.0) if self._deadline < _INF else _INF

    def checkpoint(self) -> None:
        """Stop here if the caller has given it up.

        Raises:
            CallCancelled: he has. Let it pass: the worker is fit for the next call when it arrives at the top.
        """
        if self._msgid in self._running.cancelled:
            raise CallCancelled("the caller has cancelled this call")

    def receive(self) -> bytes:
        """The next piece of what the caller feeds this call (``pool.stream(..., feed=...)``), or ``b""`` at its end.

        Waits for it; nothing is sent before it is asked for, and a bounded number of pieces ahead. For synchronous
        methods; asynchronous ones await `areceive`.

        Raises:
            CallCancelled: the caller has given the call up, or cannot give the rest. Let it pass.
            RuntimeError: the call is not fed.
        """
        feed = self._feed()
        if not self._running.may_block:
            raise RuntimeError(
                "a synchronous method cannot wait for what it is fed in a task of its caller's own thread: "
                "make it asynchronous, and await areceive()"
            )
        piece = feed.wait()
        if piece is None:
            raise CallCancelled("the caller has cancelled this call")
        return piece

    async def areceive(self) -> bytes:
        """As `receive`, for asynchronous methods.

        A checkpoint if it waits. Cancellation loses nothing: the next call gets what came meanwhile.
        """
        from ._async_feed import next_piece

        return await next_piece(self._feed(), self._running.soon)

    @property
    def fed(self) -> bool:
        """Whether the caller feeds this call."""
        return self._msgid in self._running.feeds

    def _feed(self) -> Feed:
        feed = self._running.feeds.get(self._msgid)
        if feed is None:
            raise RuntimeError("this call is not fed: its caller passes feed=... to pool.stream()")
        return feed

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell the caller how far this call is, if he asked: ``pool.execute(..., progress=callback)``.

        Report as often as you like, from any thread: the first report goes at once, then one every 50 ms at most, and
        the last before the reply. To a caller who did not ask nothing is sent.

        Args:
            done: a number, in any unit.
            total: what `done` will be at the end, or None where that is not known.

        Raises:
            TypeError: they are no numbers.
        """
        if not isinstance(done, int | float) or not (total is None or isinstance(total, int | float)):
            raise TypeError(f"progress takes two numbers, the second may be None; not {done!r} and {total!r}")
        reports = self._running.reports.get(self._msgid)
        if reports is not None:
            reports.note(done, total)


_current: ContextVar[CurrentCall] = ContextVar("trio_folk.current_call")
_only: Running | None = None  # of the one loop of this process that runs one call after another


def current_call() -> CurrentCall:
    """The call that this code runs for. Ask it whether it was cancelled, and how long it has.

    In a worker of synchronous methods every thread may ask; in one with async methods, the method's own tasks,
    and threads that trio started for them.

    Raises:
        RuntimeError: no call runs here.
    """
    try:
        return _current.get()
    except LookupError:
        if _only is not None and _only.msgid:
            return CurrentCall(_only, _only.msgid)
    raise RuntimeError("current_call() is for code that a worker runs for a caller; no call runs here")


def entered(running: Running, msgid: int) -> None:
    """This task's code runs for this call from now on."""
    _current.set(CurrentCall(running, msgid))


def only(running: Running) -> None:
    """This process has one loop, which runs one call after another, and this is what it knows."""
    global _only
    _only = running

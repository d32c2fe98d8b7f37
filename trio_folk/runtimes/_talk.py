"""A talk: a call during which the worker says more than its reply, and is told more than its request.

One is made each time that such a call is sent, for worker and msgid may differ; ordinary calls have none.

Invariants
    1. What was not asked for is a breach of the protocol.
    2. Who leaves is told apart from who is cancelled, where the worker can tell them apart.

Knows jobs and notifications. Does not know sockets.
Picture: docs/design/stream.md
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .._errors import ProtocolError
from ._jobs import Told, WireJob
from ._stream import StreamJob

__all__ = ["Talk", "Teller"]


class Teller(Protocol):
    """Where a worker is told of its running calls; what tells is false if it does not listen."""

    def tell(self, method: str, params: object, /) -> bool: ...

    async def post(self, method: str, params: object, /) -> None: ...

    def cancel(self, msgid: int, /) -> bool: ...


class Talk:
    """One call, as the task channel sends it and hears of it.

    Args:
        job: what is sent.
        control: where the worker is told more.
        features: what the worker announced.

    Attributes:
        cancel: asks the worker to end the call, and says how long it has; None: as for other calls.
        begun: the job's own.
    """

    cancel: Callable[[int], float] | None = None

    def __init__(self, job: WireJob, control: Teller, features: frozenset[str]) -> None:
        self._job = job
        self._stream = job if isinstance(job, StreamJob) else None
        self._reports = "progress" in features and job.progress is not None
        self._cancels = "cancel" in features
        self._control = control
        self.begun = job.begun
        self.prefaced = job.prefaced

    def preface(self, told: Told, limit: int) -> bytes:
        """See `WireJob.preface`."""
        return self._job.preface(told, limit)

    def encode(self, msgid: int, limit: int, remaining: float | None = None) -> bytes:
        """The frame to send; see `WireJob.encode`."""
        wishes: dict[str, object] = {}
        if self._reports:
            wishes["progress"] = True
        if self._stream is not None:
            wishes["stream"] = self._stream.begin(partial(self._grant, msgid), partial(self._post, msgid))
            if self._stream.feed is not None:
                wishes["feed"] = True
        return self._job.encode(msgid, limit, remaining, wishes)

    def hear(self, method: str, params: list[Any], size: int) -> None:
        """The worker has said something during this call.

        Args:
            method: of the notification.
            params: its params; the first is the msgid.
            size: about how many bytes it had.

        Raises:
            ProtocolError: it was not asked for that.
        """
        match method, params:
            case "folk.item", [_, value] if self._stream is not None:
                self._stream.put(value, size)
            case "folk.want", [_, int() as pieces] if (
                self._stream is not None and self._stream.feed is not None
            ):
                self._stream.feed.want(pieces)
            case "folk.progress", [_, int() | float() as done, int() | float() | None as total] if (
                self._reports
            ):
                if self._job.progress is not None:
                    self._job.progress(done, total)
            case _:
                raise ProtocolError(f"{method} {params!r:.200}, which nobody asked for")

    def ask_to_end(self, msgid: int) -> bool:
        """Tell the worker that nobody wants more; False if it does not listen."""
        if self._stream is not None and (self._stream.left or not self._cancels):
            return self._control.tell("folk.end", {"msgid": msgid})
        return self._control.cancel(msgid)

    async def _post(self, msgid: int, told: dict[str, object]) -> None:
        await self._control.post("folk.piece", {"msgid": msgid, **told})

    def _grant(self, msgid: int, more: int) -> None:
        self._control.tell("folk.credit", {"msgid": msgid, "credit": more})

"""Jobs: a call encoded once, before it takes a slot, and how its answer is read.

A call that cannot be encoded must fail at once and harm no worker; a call that provably never started must be
able to run elsewhere without being encoded again. So a job holds bytes, and knows nothing of who sends them.

Knows the wire. Does not know sockets, workers or slots.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .._errors import ApplicationError, FrameTooLarge
from .._wire import encode_request, pack
from ..abc import Job

if TYPE_CHECKING:
    from ..worker._large import Large

__all__ = ["Job", "MethodJob", "Told", "WireJob"]

_PARAMS = pack("params")
_HEADER = 64  # bytes: array header, msgid, and msgpack's own prefixes; the method's name is added


class Told(set[int]):
    """What one worker was told: the functions, by their numbers.

    Attributes:
        over: is true when there is news of loans that the worker does not know.
        release: the frame that tells them.
    """

    over: Sequence[int] | deque[int] = ()
    release: Callable[[], bytes]


class WireJob(Job):
    """A call as bytes of the wire.

    Attributes:
        large: what of it is better put into shared memory, or None.
        streams: whether it gives items before its reply.
        prefaced: whether frames may have to come before its own.
    """

    __slots__ = ("method", "params")
    large: Large | None = None

    streams: ClassVar[bool] = False
    prefaced: ClassVar[bool] = False

    def __init__(self, method: str, params: bytes, limit: int) -> None:
        if len(params) + len(method) * 4 + _HEADER > limit:
            raise _too_large(f"the call of {method!r}", len(params), limit)
        self.method: str = method
        self.params: bytes = params

    @property
    def name(self) -> str:
        return self.method

    @property
    def size(self) -> int:
        return len(self.params)

    def preface(self, told: Told, limit: int) -> bytes:
        """The frames that must come before its own; mostly none.

        Args:
            told: what this worker was already told, and is added to.
        """
        return b""

    def encode(
        self,
        msgid: int,
        limit: int,
        remaining: float | None = None,
        wishes: Mapping[str, object] | None = None,
    ) -> bytes:
        """The frame to send.

        Args:
            remaining: seconds until the caller gives up, or inf; None where the worker takes no circumstances.
            wishes: what else is asked of a worker that has announced it.
        """
        if remaining is None or (remaining == math.inf and not self.context and not wishes):
            return encode_request(msgid, self.method, self.params, limit)
        return encode_request(msgid, "folk.execute", self._with_circumstances(remaining, wishes or {}), limit)

    def _with_circumstances(self, remaining: float, wishes: Mapping[str, object]) -> bytes:
        """The params of ``folk.execute``, around params that were packed before."""
        told: dict[str, object] = {"method": self.method, **wishes}
        if remaining < math.inf:
            told["remaining"] = max(remaining, 0.0)
        if self.context:
            told["context"] = self.context
        head = pack(told)  # a map of less than 16 entries begins with one byte, which holds their number
        return b"".join((bytes((head[0] + 1,)), head[1:], _PARAMS, self.params))

    def carry(self, loan: list[Any] | None) -> None:
        """Where what is large was put, each time before it is sent; None where it must travel in the frame.

        Raises:
            FrameTooLarge: it does not fit there.
        """

    @abstractmethod
    def value(self, result: Any) -> Any:
        """What the caller gets for this result."""

    @abstractmethod
    def error(self, error: Any) -> Exception:
        """What the caller gets for this error."""


class MethodJob(WireJob):
    """A named method of the worker; nothing of it is ever pickled."""

    __slots__ = ()

    def __init__(self, method: str, params: object, limit: int) -> None:
        WireJob.__init__(self, method, pack(params), limit)  # super() costs as much again

    def value(self, result: Any) -> Any:
        return result

    def error(self, error: Any) -> Exception:
        return application_error(error)

    def __repr__(self) -> str:
        return f"<MethodJob {self.method!r}, {len(self.params)} bytes>"


def _too_large(what: str, length: int, limit: int) -> FrameTooLarge:
    return FrameTooLarge(
        f"{what} takes about {length:,} bytes, a frame at most {limit:,}",
        stage="call",
        hint="pass a path instead of the content, or raise max_frame of the runtime",
    )


def application_error(error: Any) -> ApplicationError:
    """Any non-nil error of a reply as an ApplicationError; workers in other languages send what they like."""
    if not isinstance(error, dict):
        return ApplicationError(-32603, str(error), error)
    code = error.get("code")
    message = error.get("message")
    return ApplicationError(
        code if isinstance(code, int) else -32603,
        message if isinstance(message, str) else str(error),
        error.get("data"),
    )

"""Calls of Ray's workers that are more than a request and a reply: what they say meanwhile, and what goes beside.

Ray gives a result when the call is through. So what a call says before that is fetched by calls of their own, one at a
time, each of which brings all that there is.

Knows talks, loans and promises. Does not know what becomes of a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import trio

from .._errors import ProtocolError
from .._wire import Notify
from ..worker._borrower import loan_from
from ..worker._large import STEP
from . import _ray_api as api
from ._buffers import made
from ._jobs import WireJob
from ._python import PythonJob
from ._talk import Talk

if TYPE_CHECKING:
    from ._ray_handle import RayWorker

__all__ = ["RayTalk", "put_beside", "value_beside"]


class RayTalk(Talk):
    """A call during which the worker says more than its reply.

    Attributes:
        through: set when it has said all that comes before its reply, or nobody wants to know.
    """

    def __init__(self, job: WireJob, worker: RayWorker, msgid: int) -> None:
        super().__init__(job, worker, worker.features)
        self._worker = worker
        self._msgid = msgid
        self._ref: Any = None
        self.through = trio.Event()

    def begin(self) -> None:
        """The worker begins with the call: fetch what it says. Not sooner: one call at a time is pulled at."""
        if self.begun is not None:
            self.begun()
        self._pull()

    def end(self) -> None:
        """Nobody wants to know more."""
        self._ref = None
        self.through.set()

    def _pull(self) -> None:
        self._ref = self._worker.pull(self._msgid, self._take)

    def _take(self, said: Any) -> None:
        if self.through.is_set():
            return
        if not said or isinstance(
            said, BaseException
        ):  # its end, or the worker's, of which the call itself tells
            self.end()
            return
        try:
            for message in self._worker.decode(said):
                self._hear(message, len(said))
        except (ProtocolError, ValueError) as error:
            self._worker.object(str(error))
            self.end()
        else:
            self._pull()

    def _hear(self, message: object, size: int) -> None:
        if type(message) is not Notify or type(message.params) is not list or not message.params:
            raise ProtocolError(f"{message!r:.200} before a reply")
        if message.params[0] != self._msgid:
            raise ProtocolError(f"{message.method} of another call")
        self.hear(message.method, message.params, size)


async def put_beside(job: WireJob) -> Any:
    """Put what is large in a job into Ray's object store; None where there is no room, and it travels in the frame.

    Raises:
        FrameTooLarge: it does not fit there either.

    Cancellation: nothing is put, or Ray forgets it. A checkpoint.
    """
    large = job.large
    assert large is not None
    buffers = [PickleBuffer(raw) for _, raw, _ in large.buffers]
    try:
        beside = await _put(partial(api.store, buffers), large.size)
    except MemoryError:
        job.carry(None)
        return None
    job.carry(large.loan(0))
    return beside


async def _put(put: Callable[[], Any], size: int) -> Any:
    if size <= STEP:
        await trio.lowlevel.checkpoint()
        return put()
    return await trio.to_thread.run_sync(put, abandon_on_cancel=True)


async def value_beside(job: PythonJob, result: list[Any], lent: Any) -> Any:
    """A value of which large parts came beside the reply.

    Raises:
        ProtocolError: they did not.

    Cancellation: it goes on to its end; the call was answered.
    """
    if len(result) != 2 or type(result[0]) is not bytes or type(lent) is not list:
        raise ProtocolError("the result of folk.call is a bin, or a bin and a loan")
    _, kinds = loan_from(result[1])
    if len(kinds) != len(lent):
        raise ProtocolError(f"a loan of {len(kinds)} buffers came with {len(lent)}")
    views = [memoryview(each).cast("B").toreadonly() for each in lent]
    buffers = [await made(view, kind) for view, (_, _, kind) in zip(views, kinds, strict=True)]
    return job.value_beside(result[0], buffers)

"""Python calls with something large: what that is travels beside the pickle, wherever its worker can be lent it.

Which worker will run a call is not known when it is made, nor whether there is room in its segments. So the job
holds what is large as it is, and not a copy, until it is sent; and it can be pickled whole again.

Invariants
    1. What can go neither into a worker's share nor into a frame is refused before it takes a slot.
    2. The job is as good for the next worker, when it was not started on the first.

Knows pickle and loans. Does not know segments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._errors import FrameTooLarge
from .._wire import pack
from ..worker._large import Large
from ._buffers import Sharing
from ._jobs import WireJob
from ._python import PythonJob, definition_of, dumps

__all__ = ["LargeJob"]

_WAY_OUT = (
    "let go of what the worker still holds of earlier calls, raise max_shared or max_frame of the runtime, or pass a "
    "path instead of the content"
)


class LargeJob(PythonJob):
    """A call of a Python function with arguments that may be large.

    Args:
        sharing: how the workers share memory with us.

    Raises:
        FrameTooLarge: they are too large for whatever way there is.
    """

    __slots__ = ("_args", "_beside", "_kwargs", "_limit")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        limit: int,
        sharing: Sharing,
    ) -> None:
        self._fn = fn
        self._args, self._kwargs, self._limit = args, kwargs, limit
        self._number, self._definition = definition_of(fn)
        large = Large(sharing.transfer)
        pickled = dumps(large.lift_arguments(args, kwargs), "the arguments of", fn, large)
        if large.size > sharing.most:
            if large.size > limit:
                raise FrameTooLarge(
                    f"the call of {self._name} takes {large.size:,} bytes of shared memory, a worker gives at most "
                    f"{sharing.most:,}, and a frame {limit:,}",
                    stage="call",
                    hint="raise max_shared of the runtime, or pass a path instead of the content",
                )
            self._pack_whole()
            return
        self._pack(pickled)
        self._beside = self.params
        if large:
            self.large = large

    @property
    def size(self) -> int:
        return len(self.params) + (0 if self.large is None else self.large.size)

    def carry(self, loan: list[Any] | None) -> None:
        if loan is not None:
            # an array of two begins with one byte, which holds their number
            self.params = b"".join((b"\x93", self._beside[1:], pack(loan)))
            return
        try:
            self._pack_whole()
        except FrameTooLarge as error:
            error.hint = _WAY_OUT
            raise

    def _pack_whole(self) -> None:
        """All of it in the frame."""
        self._pack(dumps((self._args, self._kwargs), "the arguments of", self._fn))

    def _pack(self, pickled: bytes) -> None:
        target = self._definition if self._number is None else self._number
        WireJob.__init__(self, "folk.call", pack((target, pickled)), self._limit)

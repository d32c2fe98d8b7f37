"""What every runtime does whose workers speak the wire: calls are encoded once, whoever makes the workers.

Knows jobs. Does not know how workers come to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import FrameTooLarge
from ..abc import Chunk, Job, Runtime, Stream
from ..worker._large import has_large, may_be_large
from ._beside import LargeJob
from ._buffers import Sharing
from ._chunks import ChunkJob
from ._feed import Feed
from ._jobs import MethodJob
from ._python import PythonJob
from ._stream import StreamJob

__all__ = ["WireRuntime"]


class WireRuntime(Runtime):
    """A runtime whose calls travel in frames of at most ``_max_frame`` bytes."""

    _max_frame: int
    _sharing: Sharing | None = None

    @property
    def _elsewhere(self) -> bool:
        """Whether its workers are processes of their own, on whatever machine."""
        return self.traits.processes

    def prepare(self, method: str, params: object) -> Job:
        return MethodJob(method, params, self._max_frame)

    def prepare_stream(self, method: str, params: object, *, window: int, feed: bool = False) -> Stream:
        return StreamJob(method, params, self._max_frame, window, Feed() if feed else None)

    def prepare_python(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Job:
        if not self.traits.python:
            self._need_python()
        if self._sharing is not None and may_be_large(args, kwargs):
            return LargeJob(fn, args, kwargs, self._max_frame, self._sharing)
        return PythonJob(fn, args, kwargs, self._max_frame)

    def prepare_chunk(
        self, fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], *, seconds: float, stop: bool
    ) -> Chunk | None:
        self._need_python()
        if self._sharing is not None and has_large(items[0]):
            return None  # by itself it goes through shared memory
        try:
            return ChunkJob(fn, items, self._max_frame, seconds, stop, fatal=not self._elsewhere)
        except FrameTooLarge:
            if self._sharing is None:
                raise
            return None  # there may be room for it there; if not, that is said then

    def _need_python(self) -> None:
        if not self.traits.python:
            raise TypeError(
                f"the workers of {self!r} do not run Python functions: call a named method with execute(), "
                "or use PipeRuntime.python() or ForkRuntime()"
            )

"""What every runtime does whose workers speak the wire: calls are encoded once, whoever makes the workers.

Knows jobs. Does not know how workers come to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..abc import Runtime
from ._jobs import MethodJob
from ._python import PythonJob

__all__ = ["WireRuntime"]


class WireRuntime(Runtime):
    """A runtime whose calls travel in frames of at most ``_max_frame`` bytes."""

    _max_frame: int

    def prepare(self, method: str, params: object) -> MethodJob:
        return MethodJob(method, params, self._max_frame)

    def prepare_python(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> PythonJob:
        if not self.traits.python:
            raise TypeError(
                f"the workers of {self!r} do not run Python functions: call a named method with execute(), "
                "or use PipeRuntime.python() or ForkRuntime()"
            )
        return PythonJob(fn, args, kwargs, self._max_frame)

"""Runtimes: ways to make workers exist. One spawn, one worker or one error; they never retry and never count."""

from __future__ import annotations

from ._fork import ForkRuntime as ForkRuntime
from ._mixed import MixedRuntime as MixedRuntime
from ._pipe import PipeRuntime as PipeRuntime
from ._ray import RayRuntime as RayRuntime
from ._task import TaskRuntime as TaskRuntime

__all__ = ["ForkRuntime", "MixedRuntime", "PipeRuntime", "RayRuntime", "TaskRuntime"]

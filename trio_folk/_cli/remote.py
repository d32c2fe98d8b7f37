"""What runs in the workers of ``trio-folk map``: the target, under the name ``call``, with JSON on both sides.

The target is imported here at boot, so that its import runs on the boot clock and not on an item's.

Invariants
    1. Whatever the target is or does, the worker becomes ready: that there is no such function is an answer.
    2. Every item has an answer that JSON can hold.

Knows the target and JSON. Does not know the command line, nor what becomes of the answers.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..worker import Worker
from ..worker._dispatch import method_call
from ..worker._failures import describe, encodable
from .find import NoTarget, find, source_files

__all__ = ["TARGET", "encode", "serve"]

Arguments = tuple[Sequence[Any], Mapping[str, Any]]
TARGET = "FOLK_MAP_TARGET"
"""The environment variable that names the target; the target itself does not see it."""


def serve(target: str) -> Worker:
    """A worker with the methods ``target``, which says what was found, and ``call``, which runs one item."""
    try:
        found = find(target)
    except NoTarget as failure:
        return _without_target(failure)
    if isinstance(found, tuple):
        owner, method = found
        worker, function = Worker(owner.concurrency), owner.methods[method]

        def bind(item: Any) -> Arguments:
            _, args, kwargs = method_call(owner, method, item)
            return args, kwargs
    else:
        worker, function = Worker(), found

        def bind(item: Any) -> Arguments:
            return (item,), {}

    worker.method("call")(_caller(function, bind))
    told = {"concurrency": worker.concurrency, "sources": source_files(target, function)}
    worker.method("target")(lambda: told)
    return worker


def _caller(function: Callable[..., Any], bind: Callable[[Any], Arguments]) -> Callable[[str], Any]:
    def call(item: str) -> dict[str, Any]:
        args, kwargs = bind(json.loads(item))
        try:
            value = function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            return _failure(error)
        return encode(value)

    async def call_async(item: str) -> dict[str, Any]:
        args, kwargs = bind(json.loads(item))
        try:
            value = await function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            return _failure(error)
        return encode(value)

    return call_async if inspect.iscoroutinefunction(function) else call


def encode(value: Any) -> dict[str, Any]:
    """A result as JSON; what JSON cannot hold becomes base64 (bytes) or its repr, and is marked so."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"result": json.dumps(base64.b64encode(value).decode()), "encoding": "base64"}
    try:
        return {"result": _dumps(value)}
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return {"result": _dumps(repr(value)), "encoding": "repr"}
    except Exception as error:
        return _failure(error)


def _dumps(value: object) -> str:
    return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _failure(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = describe(error)
    return {
        "error": {
            "type": told["data"]["type"],
            "message": told["message"],
            "traceback": told["data"]["traceback"],
        }
    }


def _without_target(failure: NoTarget) -> Worker:
    message, traceback = encodable(failure.message), failure.traceback
    told = {"error": {"type": "NoTarget", "message": message, "traceback": traceback}}
    worker = Worker()
    worker.method("call")(lambda item: told)
    worker.method("target")(lambda: told)
    return worker


if TARGET in os.environ:
    sys.path.insert(0, os.getcwd())  # mymodule:f is ./mymodule.py, as with python -m
    worker = serve(os.environ.pop(TARGET))

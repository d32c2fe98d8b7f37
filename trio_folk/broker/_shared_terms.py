"""What a shared pool's two ends say to each other, over the frames of docs/protocol.md.

    pool.hello   {"v", "name", "window", "pickle"}                             daemon, once, first
    execute      {"method", "params", and what of `OPTIONS` was given}          Request
    run_sync     {"call": pickle of (function, arguments), the same}            Request, only where pickles are allowed
    pool.cancel  {"msgid"}                                                      client: nobody wants this answer

Errors travel as maps of words and numbers, never as pickles: who calls a method trusts the daemon with his parameters,
and with nothing else.

Knows errors and their attributes. Does not know sockets or pools.
"""

from __future__ import annotations

from typing import Any

from .. import _errors
from .._errors import ApplicationError, CrashLoop, FolkError, RemoteError
from .._pool import ExecTimeout, PoolBusy, QueueTimeout

__all__ = ["CANCEL", "CANCELLED", "EXECUTE", "FAILED", "HELLO", "OPTIONS", "RUN_SYNC", "describe", "rebuild"]

HELLO, EXECUTE, RUN_SYNC, CANCEL = "pool.hello", "execute", "run_sync", "pool.cancel"
OPTIONS = ("exec_timeout", "queue_timeout", "idempotent", "key", "priority", "remaining")
FAILED, CANCELLED = -32603, -32800
_TOLD = ("worker", "pid", "exit_code", "signal", "generation", "stage", "hint")
_KINDS: dict[str, type[FolkError]] = {
    each.__name__: each
    for each in (
        *(PoolBusy, QueueTimeout, ExecTimeout),
        *(_errors.PoolClosed, _errors.WorkerDied, _errors.ProtocolError, _errors.FrameTooLarge),
    )
}


def describe(error: Exception) -> dict[str, object]:
    """An error of a call, as its reply carries it."""
    if isinstance(error, ApplicationError):
        return {
            "code": error.code,
            "message": error.message,
            "data": {"kind": "application", "data": error.data},
        }
    data: dict[str, object] = {"kind": type(error).__name__}
    if not isinstance(error, FolkError):
        return {"code": FAILED, "message": str(error) or repr(error), "data": data}
    data |= {name: getattr(error, name) for name in _TOLD}
    data["stderr"] = list(error.stderr)
    if isinstance(error, CrashLoop):
        data["retry_after"] = error.retry_after
    if isinstance(error, RemoteError):
        data |= {"type": error.remote_type, "traceback": error.remote_traceback}
    return {"code": FAILED, "message": error.message, "data": data}


def rebuild(told: Any) -> Exception:
    """The error that a reply carries; whatever is not understood of it is text."""
    error = told if isinstance(told, dict) else {"message": str(told)}
    message = str(error.get("message", ""))
    data = error.get("data") if isinstance(error.get("data"), dict) else {}
    assert isinstance(data, dict)
    kind = data.get("kind")
    if kind == "application":
        code = error.get("code")
        return ApplicationError(code if isinstance(code, int) else FAILED, message, data.get("data"))
    if kind == "TypeError":
        return TypeError(message)
    if kind == "ValueError":
        return ValueError(message)
    made = _make(kind, message, data)
    for name in _TOLD:
        setattr(made, name, data.get(name))
    made.stderr = tuple(str(line) for line in data.get("stderr") or ())
    return made


def _make(kind: object, message: str, data: dict[str, Any]) -> FolkError:
    if kind == "CrashLoop":
        return CrashLoop(message, (), float(data.get("retry_after") or 0.0))
    if kind == "RemoteError":
        return RemoteError(message, str(data.get("type") or ""), str(data.get("traceback") or ""))
    return _KINDS.get(str(kind), FolkError)(message)

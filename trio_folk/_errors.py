"""Every error that needs no trio: what went wrong, in which worker, at which stage, and what to do.

An error that says only "worker died" sends its reader to a debugger. Each of ours carries what was
known when it was made: the worker, its pid, how it ended, its generation, its last lines of stderr,
and a hint. All of them pickle, with all of that.

Knows nothing: it imports nothing, so every room may stand on it.
"""

from __future__ import annotations

__all__ = [
    "AlreadyBound",
    "AlreadyLocked",
    "ApplicationError",
    "BackendRefused",
    "BindError",
    "BindIOError",
    "BootFailed",
    "BootTimeout",
    "CrashLoop",
    "FolkError",
    "FrameTooLarge",
    "InvalidEndpoint",
    "InvalidFrame",
    "LockDeletedOrRecreated",
    "LockFailed",
    "LockIdentityError",
    "LockOpenError",
    "PoolClosed",
    "ProtocolError",
    "ReloadFailed",
    "RemoteError",
    "SpawnBudgetExhausted",
    "SpawnError",
    "SpawnInProgress",
    "SpawnLockError",
    "WorkerDied",
]

_STDERR_SHOWN = 10  # lines; the attribute holds all that were kept


class FolkError(Exception):
    """Whatever this library raises of its own is one of these.

    Attributes:
        worker: ``pool/slot.incarnation`` of the worker concerned, or None.
        pid: its process id, or None where there was none.
        exit_code: the status it exited with, or None.
        signal: the name of the signal that ended it (``"SIGKILL"``), or None.
        generation: the generation of code it ran, or None.
        stderr: its last lines of standard error, oldest first.
        stage: what was being done: ``"launch"``, ``"boot"``, ``"queue"``, ``"call"``, ``"drain"``,
            ``"bind"``.
        hint: what the reader can do about it, or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        worker: str | None = None,
        pid: int | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        generation: int | None = None,
        stderr: tuple[str, ...] = (),
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        # BaseException pickles as (class, args, __dict__): args must rebuild it alone.
        super().__init__(message)
        self.message = message
        self.worker = worker
        self.pid = pid
        self.exit_code = exit_code
        self.signal = signal
        self.generation = generation
        self.stderr: tuple[str, ...] = tuple(stderr)
        self.stage = stage
        self.hint = hint

    def _inherit(self, error: FolkError) -> None:
        """Take over what another error knows of its worker: all but its message and hint."""
        self.worker, self.pid, self.generation = error.worker, error.pid, error.generation
        self.exit_code, self.signal = error.exit_code, error.signal
        self.stderr, self.stage = error.stderr, error.stage

    def __str__(self) -> str:
        lines = [self.message + self._context()]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.stderr:
            lines.append("  its last lines of stderr:")
            lines += [f"    | {line}" for line in self.stderr[-_STDERR_SHOWN:]]
        return "\n".join(lines)

    def _context(self) -> str:
        known = []
        if self.worker is not None:
            known.append(f"worker {self.worker}")
        if self.pid is not None:
            known.append(f"pid {self.pid}")
        if self.signal is not None:
            known.append(f"killed by {self.signal}")
        elif self.exit_code is not None:
            known.append(f"exit status {self.exit_code}")
        if self.stage is not None:
            known.append(f"during {self.stage}")
        return f" [{', '.join(known)}]" if known else ""


class PoolClosed(FolkError):
    """The pool takes no more calls: it is draining, or its block was left."""


class WorkerDied(FolkError):
    """The worker ended while this call was, or may have been, running on it.

    The call is not run again by itself: it may have had effects. Say ``idempotent=True`` where it has none.
    """


class ApplicationError(FolkError):
    """The worker's method failed, and the worker said so; the worker is unharmed.

    Attributes:
        code: an integer; -32601 unknown method, -32602 wrong parameters, -32603 the method raised.
        data: what else the worker told; from Python workers a map with ``type`` and ``traceback``.
    """

    def __init__(
        self,
        code: int,
        message: str,
        data: object = None,
        *,
        worker: str | None = None,
        pid: int | None = None,
        generation: int | None = None,
    ) -> None:
        super().__init__(message, worker=worker, pid=pid, generation=generation)
        self.args: tuple[object, ...] = (code, message, data)
        self.code = code
        self.data = data

    @property
    def remote_type(self) -> str | None:
        """The name of the exception's class in the worker, where the worker told it."""
        return self._told("type")

    @property
    def remote_traceback(self) -> str | None:
        """The traceback in the worker as text, where the worker told it."""
        return self._told("traceback")

    def _told(self, key: str) -> str | None:
        value = self.data.get(key) if isinstance(self.data, dict) else None
        return value if isinstance(value, str) else None

    def __str__(self) -> str:
        text = f"{super().__str__()} (code {self.code})"
        return f"{text}\n{self.remote_traceback}" if self.remote_traceback else text


class RemoteError(FolkError):
    """What a function raised in a worker and could not travel, or must not be mistaken for the caller's own.

    Attributes:
        remote_type: the qualified name of the exception's class.
        remote_traceback: its traceback in the worker, as text.
    """

    def __init__(
        self,
        message: str,
        remote_type: str = "",
        remote_traceback: str = "",
        *,
        worker: str | None = None,
        pid: int | None = None,
        generation: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, worker=worker, pid=pid, generation=generation, hint=hint)
        self.args: tuple[object, ...] = (message, remote_type, remote_traceback)
        self.remote_type = remote_type
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.remote_traceback}" if self.remote_traceback else text


class SpawnError(FolkError):
    """A worker could not be brought to life."""


class BootFailed(SpawnError):
    """The worker could not be launched, died before it was ready, or said that it cannot serve.

    Attributes:
        remote_traceback: the traceback of the target's import, where a Python worker told it.
    """

    remote_traceback: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.remote_traceback}" if self.remote_traceback else text


class BootTimeout(SpawnError):
    """The worker was launched but did not become ready within ``boot_timeout``."""


class SpawnInProgress(SpawnError):
    """One attempt with this key is in flight already; there is never a second beside it.

    Attributes:
        retry_after: seconds after which asking again is sensible; a hint, for nobody knows when it ends.
    """

    def __init__(
        self,
        retry_after: float,
        message: str = "an attempt with this key is in flight already",
        *,
        worker: str | None = None,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, worker=worker, stage=stage, hint=hint)
        self.args: tuple[object, ...] = (retry_after, message)
        self.retry_after: float = retry_after

    def __str__(self) -> str:
        return f"{super().__str__()}{_again(self.retry_after)}"


class SpawnBudgetExhausted(SpawnError):
    """The window holds as many attempts as the budget allows.

    Attributes:
        retry_after: seconds after which, if nobody asks in between, the answer is yes, and not before, unless an
            attempt is given back; ``math.inf`` while only attempts in flight stand in the way.
        remaining: attempts that are left: none.
    """

    def __init__(
        self,
        retry_after: float,
        remaining: int = 0,
        message: str = "the spawn budget is used up",
        *,
        worker: str | None = None,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, worker=worker, stage=stage, hint=hint)
        self.args: tuple[object, ...] = (retry_after, remaining, message)
        self.retry_after: float = retry_after
        self.remaining = remaining

    def __str__(self) -> str:
        return f"{super().__str__()}{_again(self.retry_after)}"


class CrashLoop(FolkError):
    """Attempt after attempt failed, the budget is used up, and nothing is left that could serve.

    What is known of the last failure (worker, stage, exit, lines of stderr) is known of this error too.

    Attributes:
        failures: the last failures, oldest first, each with its stage, exit and lines of stderr.
        retry_after: seconds until the budget allows another attempt.
    """

    def __init__(
        self,
        message: str = "each attempt to get a worker failed",
        failures: tuple[FolkError, ...] = (),
        retry_after: float = 0.0,
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        if failures:
            self._inherit(failures[-1])
        # Not in args, for exceptions are equal only to themselves; they pickle with the attributes.
        self.failures: tuple[FolkError, ...] = tuple(failures)
        self.retry_after: float = retry_after

    def __str__(self) -> str:
        if not self.failures:
            return f"{super().__str__()}{_again(self.retry_after)}"
        lines = [f"{self.message}{_again(self.retry_after)}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        last = self.failures[-1]
        lines.append(f"  failures: {len(self.failures)}; the last, {type(last).__name__}:")
        lines += [f"    {line}" for line in str(last).splitlines()]
        return "\n".join(lines)


def _again(seconds: float) -> str:
    return "" if seconds == float("inf") else f"\n  next attempt possible in {seconds:.3g} s"


class ReloadFailed(FolkError):
    """The new code could not take over; the old serves on where it still can.

    The cause is what failed: the first new worker's BootFailed, or what the check raised.

    Attributes:
        report: which slots have which generation now, or None if none had got the new one.
        remote_traceback: the worker's own traceback, where it told one.
    """

    report: object = None
    remote_traceback: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.remote_traceback}" if self.remote_traceback else text


class SpawnLockError(FolkError):
    """A spawn lock could not be had, or is not what it was.

    Attributes:
        path: the lock file's.
    """

    def __init__(
        self,
        message: str = "",
        path: str = "",
        *,
        pid: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, pid=pid, hint=hint)
        self.args: tuple[object, ...] = (message, path)
        self.path = path


class LockOpenError(SpawnLockError):
    """The lock file or its directory cannot be opened, or is not safe: a link, another owner, open to others."""


class AlreadyLocked(SpawnLockError):
    """Somebody else holds the lock.

    Attributes:
        pid: the holder's process id, or None where it has not said so.
        since: when it got the lock, in seconds since 1970, or None.
        program: what it runs, as far as it said so.
    """

    def __init__(
        self,
        message: str = "",
        path: str = "",
        *,
        pid: int | None = None,
        since: float | None = None,
        program: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, path, pid=pid, hint=hint)
        self.since = since
        self.program = program


class LockFailed(SpawnLockError):
    """The file was opened, but the system cannot lock it or write to it."""


class LockDeletedOrRecreated(SpawnLockError):
    """The lock's file was deleted, moved or replaced; whoever held it holds it no more, for good.

    Attributes:
        opened: device and inode of the file that was locked.
        current: those of what its path names now, or None where there is nothing.
    """

    opened: tuple[int, int] | None = None
    current: tuple[int, int] | None = None


class LockIdentityError(SpawnLockError):
    """Nobody can tell whether the lock is still held here: its path cannot be read, or this is another process."""


class BindError(FolkError):
    """No listener could be had on an endpoint, or the one that was handed over is not what it should be.

    Attributes:
        endpoint: the one that was asked for.
    """

    def __init__(
        self,
        message: str = "",
        endpoint: str = "",
        *,
        pid: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, pid=pid, stage="bind", hint=hint)
        self.args: tuple[object, ...] = (message, endpoint)
        self.endpoint = endpoint


class InvalidEndpoint(BindError):
    """The endpoint cannot be used: too long, a NUL in it, no such directory, a link, or open to others."""


class AlreadyBound(BindError):
    """Somebody listens on it already, or it is not proven that nobody does."""


class BindIOError(BindError):
    """The system refused for a reason that does not lie in the endpoint: no rights, no descriptors, no space."""


class BackendRefused(FolkError):
    """A backend is there, or could be, and this program is not to use it now.

    Attributes:
        reason: ``"version"``, ``"shutting down"``, ``"descriptors"``, ``"backlog"``, ``"peer"`` or ``"busy"``.
        retry_after: seconds after which asking again is sensible; ``math.inf`` if it never is.
    """

    def __init__(
        self,
        message: str = "",
        reason: str = "",
        retry_after: float = 1.0,
        *,
        pid: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, pid=pid, hint=hint)
        self.args: tuple[object, ...] = (message, reason, retry_after)
        self.reason = reason
        self.retry_after: float = retry_after

    def __str__(self) -> str:
        return f"{super().__str__()}{_again(self.retry_after)}"


class ProtocolError(FolkError):
    """What came over the wire is not the protocol; the worker that sent it is ended."""


class FrameTooLarge(ProtocolError):
    """A frame longer than the limit: refused before it is sent, or before it is allocated."""


class InvalidFrame(ProtocolError):
    """A frame that is empty, cut short, not MessagePack, or not one of the protocol's messages."""

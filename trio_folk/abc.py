"""What users may implement: runtimes and their worker handles, a router of keys, and what watches a pool.

The pool above knows nothing of processes, sockets or bytes; it knows these classes. Whoever writes a
runtime of their own proves it with ``trio_folk.testing.RuntimeContract``.

Knows words. Does not know how any of them is done: no code of ours stands behind this file.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs
import trio

__all__ = [
    "Birth",
    "CallEnd",
    "CallRecord",
    "Chunk",
    "ChunkReply",
    "Instrument",
    "Job",
    "Key",
    "Ladder",
    "NotStarted",
    "Router",
    "Runtime",
    "Rung",
    "Stream",
    "Traits",
    "WorkerExit",
    "WorkerHandle",
    "WorkerId",
]


@attrs.frozen
class WorkerId:
    """One incarnation of a worker in a slot; prints as ``pool/slot.incarnation``, e.g. ``thumbs/3.12``."""

    pool: str
    slot: int
    incarnation: int

    def __str__(self) -> str:
        return f"{self.pool}/{self.slot}.{self.incarnation}"


@attrs.frozen
class WorkerExit:
    """How a worker ended: by a status of its own, or by a signal. Exit 9 and SIGKILL differ here.

    Attributes:
        code: its exit status, or None.
        signal: the signal's name, e.g. ``"SIGKILL"``, or None.
        detail: what else is known, for runtimes without either.
    """

    code: int | None = None
    signal: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {self.signal}"
        if self.code is not None:
            return f"exited with status {self.code}"
        return self.detail or "ended"


class Rung(enum.IntEnum):
    """The rungs of the ladder that ends a worker, gentlest first."""

    STOP = 0
    """End of file on its task channel: finish what runs, then exit."""
    TERMINATE = 1
    """SIGTERM to its process group."""
    KILL = 2
    """SIGKILL to its process group."""


@attrs.frozen
class Ladder:
    """How long a worker is given on each rung before the next is taken, in seconds.

    The last wait is bounded too: a process in uninterruptible sleep does not die when it is killed. ``cancel`` comes
    before the rungs: how long a call whose caller has given it up may take to end, before its worker is ended.
    """

    stop: float = 5.0
    terminate: float = 5.0
    kill: float = 5.0
    cancel: float = 1.0


@attrs.frozen
class Birth:
    """What a runtime is told of the worker it is to make."""

    id: WorkerId
    generation: int = 0
    ladder: Ladder = Ladder()


@attrs.frozen
class Traits:
    """What a runtime can and cannot do; the contract's tests and the pool go by it.

    Attributes:
        processes: its workers are processes of this machine: they have a pid and can be killed.
        interruptible: a running synchronous call can be stopped.
        recyclable: its workers may be replaced while they are healthy.
        python: its workers run Python functions by pickle (`prepare_python`).
        keeps_generations: it can still make workers of an older generation, until it is told to `Runtime.forget`
            them; workers that read their code from the disk when they start cannot.
    """

    processes: bool = True
    interruptible: bool = True
    recyclable: bool = True
    python: bool = False
    keeps_generations: bool = False


class NotStarted(Exception):
    """Raised by `WorkerHandle.execute` when the call provably never reached the worker: run it elsewhere."""


class Job:
    """A call made ready to be sent: encoded once, refused before it takes a slot if it cannot be.

    Attributes:
        context: values that travel beside the parameters, by name, to workers that take them; or None.
        progress: told ``(done, total)`` of each report, where the worker makes any; must not raise. None: nobody asks.
        begun: told when a worker that may hold it (`WorkerHandle.holds`) begins with it, at the latest; or None.
    """

    context: Mapping[str, object] | None = None
    progress: Callable[[float, float | None], object] | None = None
    begun: Callable[[], object] | None = None

    @property
    def name(self) -> str:
        """The name of the method or function that it calls, as people know it; empty where nobody can tell."""
        return ""

    @property
    def size(self) -> int:
        """How many bytes it holds, or 0 where nobody can tell."""
        return 0


class Chunk(Job):
    """A call that runs a function for several items; what it returns is a `ChunkReply`.

    Attributes:
        count: how many items it holds.
    """

    count: int


@attrs.define
class ChunkReply:
    """What became of the items of a chunk. Those behind the last value were not started.

    Attributes:
        values: what the first items returned, in order; None for one that failed.
        failures: why they failed, by their place.
        seconds: how long the worker took for them.
    """

    values: list[Any]
    failures: dict[int, Exception]
    seconds: float


class Stream(Job):
    """A call that gives items one by one while `WorkerHandle.execute` runs it, which returns its result at their end.

    A bounded number is on the way or waits here; each that is taken makes room for another. When nobody wants more,
    call `leave`, and cancel `execute`: the worker is asked to end the stream, and the call succeeds if it does.

    Attributes:
        on_news: called when an item has come, and when the call has been sent; must not raise.
        sent: whether it has been sent.
    """

    on_news: Callable[[], object] | None = None
    sent: bool = False

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many items can be taken."""

    @abstractmethod
    def take(self) -> Any:
        """The next item.

        Raises:
            IndexError: none waits.
        """

    @abstractmethod
    def leave(self) -> None:
        """Nobody wants more: the items that wait are dropped, and so is what still comes."""

    async def give(self, data: bytes) -> None:
        """Give the running call the next bytes of what it is fed; none are the end. For one made with ``feed=True``.

        Returns when the worker has asked for them and all are on their way.

        Cancellation: some of them may be on their way; cancel the call too.
        """
        raise TypeError(f"{self!r} is not fed")


class WorkerHandle(ABC):
    """The parent's handle on one live worker.

    A worker that is told to end, that broke the protocol or that died is *condemned*: it takes no more
    calls, and the task that runs its life takes it down the ladder. Whoever dispatches watches `condemned`.
    """

    id: WorkerId
    generation: int
    pid: int | None = None
    concurrency: int = 1
    """How many calls it runs at once; known once it is ready."""
    holds: bool = False
    """Whether it may be given more than that: it begins them in their order, and gives back what it has not begun."""
    rank: int = 0
    """0, 1, 2 ...: among idle workers the pool takes one of the lowest; the others are for what these cannot take."""
    features: frozenset[str] = frozenset()
    """The protocol extensions it announced; known once it is ready."""
    condemned: trio.Event
    """Set when the worker takes no more calls; `reason` says why."""
    ended: trio.Event
    """Set when the worker is gone and reaped; `exit` says how."""
    reason: str | None = None
    planned: bool = False
    """Whether it ends because the parent decided so; false when it died or broke the protocol by itself."""
    exit: WorkerExit | None = None

    @property
    def stages(self) -> tuple[tuple[str, float], ...]:
        """The means that were taken to end it, each with the seconds that it took; ``cancel``, then the rungs."""
        return ()

    def recall(self) -> bool:
        """Ask for the calls that it holds; each one that it gives back ends with NotStarted. Whether it was asked."""
        return False

    def tell_answers(self, told: Callable[[int, float], object]) -> None:  # noqa: B027  most hold nothing
        """Have this told when a worker that holds calls has answered some: how many, and in how many seconds since it
        answered last or was given the first. It must not raise."""

    @property
    def stderr(self) -> tuple[str, ...]:
        """Its last lines of standard error, oldest first."""
        return ()

    @abstractmethod
    async def ready(self) -> None:
        """Return once the worker has said that it is ready.

        Raises:
            BootFailed: it died, closed its channels, said that it cannot serve, or spoke nonsense.

        Cancellation: the worker is left as it is; the caller decides what becomes of it.
        """

    @abstractmethod
    async def execute(self, job: Job) -> Any:
        """Run one call, and return what it returned.

        Args:
            job: from the `prepare` methods of the runtime that made this worker.

        Raises:
            NotStarted: the worker is condemned, its channel was closed before the call was sent, or it held the call
                and gave it back, or died before it.
            WorkerDied: the worker ended, or was told to, while the call was or may have been running.
            ProtocolError: the worker answered with something that is not an answer.
            ApplicationError: the method failed. What a Python function raised comes as itself, or as RemoteError.
            FolkError: the job is a `Stream`, and the worker does not stream.

        Cancellation: a worker that can is asked to end the call. What it answers within ``ladder.cancel`` is returned,
        unless that is that it cancelled the call. If it does not answer, or cannot be asked, it is condemned, for its
        state is not known; ending it starts at SIGTERM.
        """

    @abstractmethod
    def terminate(self, reason: str, rung: Rung = Rung.STOP) -> None:
        """Condemn the worker and have it ended from this rung on. Returns at once; wait for `ended`.

        Calls running on it end as WorkerDied with this reason. The first reason stays; a higher rung is
        honoured whenever it comes.
        """

    def memory(self) -> int | None:
        """The worker's resident memory in bytes, or None where nobody can tell."""
        return None


class Runtime(ABC):
    """A way to make workers exist. One spawn, one worker or one error: it never retries and never counts."""

    traits: Traits = Traits()
    slots: int | None = None
    """How many slots it is made for, or None for any number: so many a pool has by default, and never more."""

    def part(self, slot: int) -> int:
        """Which part of it makes the workers of a slot, or of a spare, which are numbered after the slots.

        Each part has a budget of attempts of its own, so that one which fails leaves the others theirs.
        """
        return 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be what the runtime needs for as long as a pool uses it: ``await nursery.start(runtime.run)``.

        It is started before the first spawn, and cancelled when the last worker is gone. Most runtimes need
        nothing: this one tells so and returns.

        Cancellation: whatever it has started is ended.
        """
        await trio.lowlevel.checkpoint()
        task_status.started()

    @abstractmethod
    async def spawn(
        self, birth: Birth, *, task_status: trio.TaskStatus[WorkerHandle] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be one worker's whole life: ``handle = await nursery.start(runtime.spawn, birth)``.

        Starts when the worker was launched (which is not ready); returns when it is gone, reaped, and
        everything that belonged to it is closed.

        Raises:
            BootFailed: it could not be launched; nothing is left.

        Cancellation: at any checkpoint, before or after the start, the worker is taken down its ladder: from
        `Rung.STOP` when it is idle, from `Rung.TERMINATE` when it is not; then `Cancelled` goes on.
        """

    def forget(self, generation: int) -> None:  # noqa: B027  most runtimes keep nothing to forget
        """Of the generations so far only this one's workers will be asked for: a reload has ended, well or not."""

    @abstractmethod
    def prepare(self, method: str, params: object) -> Job:
        """Make a call of a named method ready to be sent.

        Raises:
            FrameTooLarge: it is longer than a frame may be.
            TypeError: the parameters cannot be encoded.
        """

    def prepare_stream(self, method: str, params: object, *, window: int, feed: bool = False) -> Stream:
        """Make a call of a named method ready to be sent that gives its items one by one.

        Args:
            method: its name.
            params: as for `prepare`.
            window: how many items may be on the way or wait here.
            feed: whether it will be given more than its parameters, by `Stream.give`.

        Raises:
            FrameTooLarge, TypeError: as `prepare`; TypeError also where these workers do not stream.
        """
        raise TypeError(f"the workers of {self!r} do not stream; call a method with one result by execute()")

    def prepare_python(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Job:
        """Make a call of a Python function ready to be sent, where `Traits.python` is true.

        Raises:
            FrameTooLarge: it is longer than a frame may be.
            TypeError: the function or an argument cannot be pickled, or these workers do not run Python.
        """
        raise TypeError(
            f"the workers of {self!r} do not run Python functions; call a named method with execute()"
        )

    def prepare_chunk(
        self, fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], *, seconds: float, stop: bool
    ) -> Chunk | None:
        """Make one call for several items of a map ready to be sent: as many of these as fit, at least the first.

        A runtime need not have this: where it returns None, the first of them is better a call of its own.

        Args:
            fn: the function.
            items: the arguments of each item.
            seconds: after so many the worker starts no further item.
            stop: it starts none after one has failed.

        Raises:
            FrameTooLarge, TypeError: as `prepare_python`, if it is so for the first of them.
        """
        return None


Key: TypeAlias = str | bytes | int | tuple["Key", ...]
"""What calls have in common that belong together, as plain data, so that every router can tell keys apart alike."""


class Router(ABC):
    """Says which slot calls with a key belong to: ``open_pool(runtime, router=...)``.

    It is asked when such a call begins, and again for each that waits when the slots change. It is never asked for a
    call without a key, which takes whichever slot is idle. One router serves one pool: it may remember what it likes.
    """

    @abstractmethod
    def route(self, key: Key, slots: tuple[int, ...], load: Callable[[int], int]) -> int:
        """The number of the slot that takes a call with this key.

        It must be quick, for the event loop waits for it, and must not wait for anything. Where it raises, or names a
        slot that is not there, the call ends with a FolkError that says so.

        Args:
            key: the call's.
            slots: the numbers of those to choose from, ascending, at least one: their workers are ready, or are being
                replaced. It is the same tuple as long as nothing changes.
            load: how many calls run in a slot, or wait for it.
        """


CallEnd = Literal["succeeded", "failed", "cancelled", "died", "exec_timeout", "queue_timeout", "refused"]
"""How a call ended; ``failed`` by an error of the method or function, or of the protocol; ``refused`` it never ran."""


@attrs.define(eq=False, kw_only=True)
class CallRecord:
    """One call as an `Instrument` sees it: one object from the first time to the last.

    Attributes:
        pool: the name of its pool.
        method: the name of the method or function that it calls.
        items: how many items of a map it holds; 1 where it is no map's.
        context: what `Instrument.call_queued` puts in here travels with the call, by name, to workers that take it;
            ``traceparent``, ``tracestate`` and ``baggage`` are those of W3C, and become a trace there.
        worker: ``pool/slot.incarnation`` of the worker that has it, or had it last; None before.
        attempts: how often it was given to a worker.
        queued_at: when it came; trio's time, in seconds, as the two below.
        started_at: when it was given to that worker. One that holds calls begins it within some milliseconds.
        finished_at: when it ended.
        end: how it ended; None before.
        failures: how many of its items failed, for one of a map.
    """

    pool: str
    method: str
    items: int = 1
    context: dict[str, object] = attrs.Factory(dict)
    worker: str | None = None
    attempts: int = 0
    queued_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    end: CallEnd | None = None
    failures: int = 0

    @property
    def queue_seconds(self) -> float:
        """How long it waited for the worker that has it, or for nothing if none ever had it; once it has ended."""
        until = self.finished_at if self.started_at is None else self.started_at
        return 0.0 if until is None else until - self.queued_at

    @property
    def run_seconds(self) -> float:
        """How long that worker had it, once it has ended; 0 if none ever had it."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return self.finished_at - self.started_at


class Instrument:
    """Something that is told what a pool does, while it does it; override what you want to hear of.

    It is given to ``open_pool(..., instruments=[...])`` or ``pool.add_instrument()``, perhaps to several pools. The
    methods run in trio's thread on the path of calls, as those of trio's own instruments do: be quick, and do not
    wait. One that raises is removed, and logged with its traceback by the logger ``trio_folk.abc.Instrument``.

    Who hears that a call is queued hears of its end, unless he was removed meanwhile. A call that was refused before
    it could wait, for its parameters or a timeout that makes no sense, is not heard of.
    """

    def call_queued(self, call: CallRecord) -> None:
        """A call came, and waits for a worker, or is about to get one. Runs in the task and context of its caller."""

    def call_started(self, call: CallRecord) -> None:
        """A worker was given the call; once more if that one did not begin it, or died and the call may run again."""

    def call_finished(self, call: CallRecord, error: BaseException | None) -> None:
        """The call has ended, and this is what its caller gets instead of a result, if anything."""

    def worker_spawning(self, worker: str) -> None:
        """An attempt to make this worker, ``pool/slot.incarnation``, begins."""

    def worker_ready(self, worker: str) -> None:
        """It serves, or waits as a spare."""

    def worker_failed(self, worker: str, reason: str) -> None:
        """It did not become ready. If it was launched at all, its end is told too."""

    def worker_retiring(self, worker: str, reason: str) -> None:
        """It is healthy and due to be replaced: no more calls, and its end when the running ones have ended."""

    def worker_condemned(self, worker: str, reason: str) -> None:
        """It takes no more calls, whatever the reason, and its slot is free for the next."""

    def worker_ended(self, worker: str, reason: str, how: WorkerExit | None, planned: bool) -> None:
        """It is gone, for this reason and how; planned: because the pool decided so."""

    def reload_started(self, pool: str, generation: int) -> None:
        """A reload to the code of this generation begins."""

    def reload_finished(
        self, pool: str, generation: int, seconds: float, error: BaseException | None
    ) -> None:
        """It has ended after so many seconds, or stopped for this error."""

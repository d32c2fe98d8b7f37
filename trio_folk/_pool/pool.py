"""The pool as its users see it: calls, maps, leases, and what can be seen of it.

Knows the core and the parts that act on it. Does not know how workers are made or reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar, final, overload

import attrs
import outcome
import trio

from ..abc import Instrument, Job, Key
from . import calls
from .board import Progress
from .chunks import Chunks
from .core import Core
from .elastic import grow
from .events import EventStream
from .lease import Lease
from .lines import Place
from .mapping import MapResults, open_map
from .progress import JobProgress, reporting
from .reload import Check, Reloading
from .reports import ReloadReport
from .statistics import PoolStatistics, slot_statistics
from .steering import recycle, scale
from .stream import StreamItems, open_stream, prepare
from .watching import DEBOUNCE, StrPath, watch

__all__ = ["WorkerPool"]

T = TypeVar("T")


@final
class WorkerPool:
    """Supervised workers that can be called. Made by `open_pool` or `run_pool`, never directly."""

    _core: Core
    _reloading: Reloading

    def __init__(self) -> None:
        raise TypeError("a pool is opened: `async with open_pool(...) as pool`")

    @classmethod
    def _of(cls, core: Core) -> WorkerPool:
        pool = object.__new__(cls)
        pool._core = core
        pool._reloading = Reloading(core)
        return pool

    def __repr__(self) -> str:
        core = self._core
        held = core.dispatch.held
        running = sum(slot.incarnation.load for slot in core.slots if slot.incarnation is not None) - held
        budget = core.spent()
        spent = f", {budget.failed} of {budget.attempts} attempts spent" if budget.failed else ""
        wanted = f" ({len(core.wanted())} wanted)" if core.fewest < len(core.slots) else ""
        return (
            f"<WorkerPool {core.name!r} {self.state}: {core.ready()} of {len(core.slots)} slots ready{wanted}, "
            f"{running} calls running{f', {held} held' if held else ''}, {core.dispatch.queued} queued{spent}>"
        )

    @property
    def name(self) -> str:
        """Its name, which begins the id of each of its workers."""
        return self._core.name

    @property
    def state(self) -> Literal["open", "draining", "closed"]:
        """Whether it takes calls; or only ends those that it has; or nothing of it is left."""
        core = self._core
        return "closed" if core.closed.is_set() else "draining" if core.closing else "open"

    async def execute(
        self,
        method: str,
        params: object = None,
        *,
        exec_timeout: float | None = None,
        queue_timeout: float | None = None,
        idempotent: bool = False,
        progress: JobProgress | None = None,
        key: Key | None = None,
        priority: int = 0,
    ) -> Any:
        """Call a named method of a worker. Nothing is pickled either way.

        Args:
            method: the method's name in the worker.
            params: a map becomes keyword arguments, a list positional ones, None none, anything else one
                argument. It is encoded as MessagePack.
            exec_timeout: seconds the call may run; the pool's by default.
            queue_timeout: seconds it may wait for a slot, 0 for not at all; the pool's by default.
            idempotent: it may be run again, up to twice, if its worker dies while it runs.
            progress: ``progress(done, total)`` is called when the method reports, by ``current_call().progress()``;
                the total may be None. What it raises cancels the call, and is raised here. For workers that cannot
                report, in other languages, it is never called.
            key: calls with the same key run in the same slot, whose worker may have kept what they need: a str, bytes,
                int, or a tuple of such. It waits for that slot though others are idle; while the slot cannot get a
                worker, its keys are elsewhere. Nothing is promised beyond that: two calls of one key can run at once.
            priority: the higher, the sooner it is served of those that wait; of equal ones who came first. It takes
                nobody's worker away.

        Raises:
            ApplicationError: the method failed; its type, message and traceback are in the error.
            WorkerDied: its worker ended while it was, or may have been, running.
            ExecTimeout: it ran too long; its worker is ended.
            QueueTimeout: no slot took it in time. It never ran.
            PoolBusy: it may not wait, or the queue is full. It never ran.
            PoolClosed: the pool drains, or its block was left. It never ran.
            CrashLoop: no slot can get a worker, with ``on_crash_loop="degrade"``; the last failures. It never ran.
            ProtocolError: its worker answered with something that is not an answer; FrameTooLarge before it
                was sent.
            TypeError, ValueError: the parameters cannot be encoded, a timeout, key or priority makes no sense. It never
                ran.
            FolkError: the pool's router raised, or named no slot that is there. It never ran.

        Always notices a cancellation; other tasks run before it returns, or did within the last 0.2 ms.
        Cancellation: a waiting call is withdrawn and never runs. A running one is cancelled in its worker, which has
        ``cancel_grace`` to end it; if the job ends by itself meanwhile, that is the call's outcome. A worker that does
        not answer, or cannot be told, is ended, and the slot gets a new one.
        """
        job = self._core.runtime.prepare(method, params)
        if progress is not None or key is not None or priority:
            place = Place.of(key, priority)
            run = partial(self._run, exec_timeout, queue_timeout, idempotent, place=place)
            return await reporting(job, progress, run)
        return await calls.run(self._core, job, exec_timeout, queue_timeout, idempotent)

    async def run_sync(
        self,
        fn: Callable[..., T],
        *args: Any,
        exec_timeout: float | None = None,
        queue_timeout: float | None = None,
        idempotent: bool = False,
        progress: JobProgress | None = None,
        key: Key | None = None,
        priority: int = 0,
    ) -> T:
        """Run a synchronous function in a worker, and return what it returns. For keyword arguments use
        ``functools.partial``.

        The function must be importable in the worker, where ``sys.path`` is this process's; those of
        ``__main__``, lambdas and closures travel by value if ``trio-folk[closures]`` is installed. Arguments,
        result and exception are pickled. `progress`, `key` and `priority` are as for `execute`.

        Raises:
            Exception: what the function raised, with the worker's traceback as a note.
            RemoteError: it raised something that cannot be pickled, a BaseException, or an error of trio's or
                ours, which must not be mistaken for the caller's own.
            TypeError: the function or an argument cannot be pickled. It never ran.

        And, as `execute`: WorkerDied, ExecTimeout, QueueTimeout, PoolBusy, PoolClosed, CrashLoop, ProtocolError, and
        what concerns the key.

        A checkpoint as `execute`. Cancellation: as `execute`.
        """
        job = self._core.runtime.prepare_python(fn, args, {})
        if progress is not None or key is not None or priority:
            place = Place.of(key, priority)
            run = partial(self._run, exec_timeout, queue_timeout, idempotent, place=place)
            reported: T = await reporting(job, progress, run)
            return reported
        result: T = await calls.run(self._core, job, exec_timeout, queue_timeout, idempotent)
        return result

    async def _run(
        self,
        exec_timeout: float | None,
        queue_timeout: float | None,
        idempotent: bool,
        job: Job,
        alone: bool = False,
        place: Place | None = None,
    ) -> Any:
        return await calls.run(
            self._core, job, exec_timeout, queue_timeout, idempotent, alone=alone, place=place
        )

    def stream(
        self,
        method: str,
        params: object = None,
        *,
        exec_timeout: float | None = None,
        queue_timeout: float | None = None,
        window: int = 16,
        progress: JobProgress | None = None,
        key: Key | None = None,
        priority: int = 0,
        feed: AsyncIterable[bytes] | None = None,
    ) -> AbstractAsyncContextManager[StreamItems]:
        """The items of a method that yields, as they come: ``async with pool.stream("rows") as items``, then
        ``async for item in items``.

        The method is a generator, asynchronous or not; nothing is pickled. It holds its slot until it ends or the
        block is left, and is run on only while there is room: a slow reader makes a slow generator, and never a full
        memory. Left early, by ``break`` or an exception, the generator is closed: GeneratorExit is raised where it
        stands, and its ``finally`` blocks run. If they end within ``cancel_grace`` the worker stays.

        Args:
            method: the method's name in the worker.
            params: as for `execute`.
            exec_timeout: seconds the whole stream may take, its reader's time included; the pool's by default.
            queue_timeout: seconds it may wait for a slot, 0 for not at all; the pool's by default.
            window: how many items may be on the way or wait here. No more are asked for either while 8 MiB wait.
            progress, key, priority: as for `execute`.
            feed: bytes that are too many for `params`, such as an upload. They are read as the method asks for them, by
                ``current_call().receive()``, and never more than a megabyte ahead. What it raises cancels the call, and
                is raised by the iterator. An async generator is closed at the end of the call.

        Raises:
            QueueTimeout, PoolBusy, PoolClosed, CrashLoop, ProtocolError: as `execute`, when the block is entered.
            FolkError: the workers do not stream, or cannot be fed; or, when the block is entered, the pool's router
                failed.
            TypeError, ValueError: the parameters cannot be encoded, a window, timeout, key or priority makes no sense.
            ApplicationError: when the block is left early: the generator failed while it was closed. If the block
                has an exception of its own, that one leaves, with a note.

        What `StreamItems` raises ends the stream: ApplicationError, WorkerDied, ExecTimeout; it is never run again.

        Entering and leaving are always checkpoints. Cancellation: the generator is closed, or cancelled where it
        waits; a worker whose generator has not ended within ``cancel_grace`` is ended.
        """
        stream = prepare(self._core.runtime, method, params, window, feed)
        place = Place.of(key, priority)
        run = partial(self._run, exec_timeout, queue_timeout, False, alone=True, place=place)
        return open_stream(stream, partial(reporting, callback=progress, run=run), feed)

    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        outcomes: Literal[False] = False,
        window: int | None = None,
        chunk: int | Literal["auto"] = "auto",
        progress: Progress | None = None,
        exec_timeout: float | None = None,
        idempotent: bool = False,
        priority: int = 0,
    ) -> AbstractAsyncContextManager[MapResults[T]]: ...

    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        outcomes: Literal[True],
        window: int | None = None,
        chunk: int | Literal["auto"] = "auto",
        progress: Progress | None = None,
        exec_timeout: float | None = None,
        idempotent: bool = False,
        priority: int = 0,
    ) -> AbstractAsyncContextManager[MapResults[outcome.Outcome[T]]]: ...

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        outcomes: bool = False,
        window: int | None = None,
        chunk: int | Literal["auto"] = "auto",
        progress: Progress | None = None,
        exec_timeout: float | None = None,
        idempotent: bool = False,
        priority: int = 0,
    ) -> AbstractAsyncContextManager[MapResults[Any]]:
        """Run a function over items, lazily: ``async with pool.map(fn, items) as results``, then ``async for``.

        Args:
            fn: as for `run_sync`.
            iterables: one, or several that are read side by side until the shortest ends; they may be infinite, and
                asynchronous. An async generator that is left before its end stays yours to close.
            ordered: hand results out in the order of the items; otherwise as they come.
            outcomes: hand out an ``outcome.Outcome`` an item, and never raise for one; otherwise the first
                error is raised, and the rest is cancelled when the block is left.
            window: how many items may be taken and not yet handed out; by default as many as keep every slot busy.
            chunk: how many items are sent to a worker at a time. ``"auto"`` begins with one, and doubles as long as a
                chunk takes less than 5 ms; one that takes 10 ms hands back what it has not started.
            progress: ``progress(done, total)`` is called whenever items have finished; the total is None until it is
                known. What it raises ends the map.
            exec_timeout: seconds each item may run. Items are sent one at a time then, for a worker that is ended
                takes its whole chunk along; a fixed chunk has as many times the seconds.
            idempotent: an item may be run again if its worker dies: the items of its chunk one by one.
            priority: as for `execute`; a map with -1 leaves the slots to whoever else waits for one.

        Without ``idempotent``, the death of a worker fails all items of the chunk that ran there, for nobody knows
        which of them did: WorkerDied for each. Whatever else happens to an item is its own.

        Cancellation, and leaving the block early: what runs is cancelled in its workers between two items, or with
        its workers if that takes longer than ``cancel_grace``; what waits never runs.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable")
        if window is not None and window < 1:
            raise ValueError(f"window is at least 1 item, not {window}")
        if chunk != "auto" and (not isinstance(chunk, int) or chunk < 1):
            raise ValueError(f"chunk is at least 1 item, or 'auto', not {chunk!r}")
        chunks = Chunks(
            self._core,
            fn,
            chunk=chunk,
            window=window,
            stop=not outcomes,
            exec_timeout=exec_timeout,
            idempotent=idempotent,
            place=Place.of(None, priority),
        )
        return open_map(iterables, chunks, ordered=ordered, outcomes=outcomes, progress=progress)

    @asynccontextmanager
    async def lease(
        self, *, queue_timeout: float | None = None, key: Key | None = None, priority: int = 0
    ) -> AsyncIterator[Lease]:
        """Several calls in a row on one worker: ``async with pool.lease() as worker``. The key and the priority are as
        for `execute`.

        Raises:
            PoolBusy, QueueTimeout, PoolClosed, CrashLoop, FolkError: as `execute`.
            TypeError: a key or priority makes no sense.

        Entering is always a checkpoint. Cancellation while waiting: nothing is taken.
        """
        core = self._core
        place = Place.of(key, priority)
        core.begin()
        try:
            incarnation = await calls.acquire(core, queue_timeout, place)
            lease = Lease._of(core, incarnation)
            try:
                yield lease
            finally:
                lease._end()
                incarnation.keep_alone(False)
                core.release(incarnation)
        finally:
            core.finish()

    async def wait_ready(self, slots: int = 1) -> None:
        """Return when at least so many slots have a worker that serves. An elastic pool grows to that many; one that
        was scaled to fewer does not, and this waits until it is scaled again.

        Raises:
            PoolClosed: the pool was closed before.

        Always a checkpoint. Cancellation leaves nothing behind.
        """
        core = self._core
        if not 1 <= slots <= len(core.slots):
            raise ValueError(f"the pool has {len(core.slots)} slots; {slots} of them cannot become ready")
        await trio.lowlevel.checkpoint()
        grow(core, slots)
        while core.ready() < slots:
            if core.closed.is_set():
                raise core.closed_error()
            await core.changed.wait()

    async def reload(self, check: Check | None = None) -> ReloadReport:
        """Let new code take over, slot by slot, while calls go on: no call shorter than
        ``reload_drain_timeout`` fails because of it.

        One worker of the new generation boots beside the old ones. Only when it is ready, and ``check`` has passed
        on it, does it take its slot; then the other slots follow, one after another. The old workers finish what
        they run. A slot whose worker dies before that first one has passed is reborn in the old code, where the
        runtime can still make that; workers launched anew read the disk.

        Args:
            check: ``async def check(worker)`` with the new worker as a `Lease`; whatever it raises stops the reload.

        Returns:
            What each slot got. Who asks while a reload runs shares the next one.

        Raises:
            ReloadFailed: the new worker did not become ready, or did not pass; the old ones serve on. If a later
                slot failed, all go back to the old code where the runtime can; the report says who has which.
            PoolClosed: the pool drains, or its block was left.

        Always a checkpoint. Cancellation: it stops where it is; every slot has one worker that serves, and calls on
        workers already replaced go on to their end.
        """
        return await self._reloading.reload(check)

    async def watch(
        self,
        *paths: StrPath,
        debounce: float = DEBOUNCE,
        check: Check | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Reload whenever files change: ``await nursery.start(pool.watch, "src/")``. For development.

        Once it has started, every change leads to a `reload`; changes that come together, or while a reload runs, to
        one. A reload that fails is logged as an error of the logger ``trio_folk``, with the worker, the stage, its
        traceback and what to do; the old code serves on, and the next change is tried again. Caches, version control
        and what editors leave (``__pycache__``, ``.git``, ``.swp``, ``~``) are not looked at.

        Needs watchfiles: ``pip install "trio-folk[watch]"``.

        Args:
            paths: files, and folders with all that is in them.
            debounce: seconds in which nothing must change before a reload begins; while changes never stop, one
                begins after ten times that.
            check: as for `reload`.

        Raises:
            FileNotFoundError: there is no such path.
            FolkError: watchfiles is not installed, or the system cannot watch so much.
            PoolClosed: the pool was drained or closed before. If that happens later, the next change ends this quietly.

        Always a checkpoint. Cancellation: nothing is watched any more some milliseconds later, no thread is left, and
        a reload that runs stops where it is, as `reload` says.
        """
        if self._core.closing:
            raise self._core.closed_error()
        await watch(self.name, partial(self.reload, check), paths, debounce, task_status)

    async def drain(self) -> bool:
        """Take no more calls, and wait until those that run or wait have ended, at most ``drain_timeout``.

        Returns:
            Whether all have ended. What has not is ended when the pool's block is left.

        Always a checkpoint. Cancellation: the pool stays closed to new calls.
        """
        core = self._core
        core.drain()
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(core.config.drain_timeout):
            await core.quiet.wait()
        return core.quiet.is_set()

    def scale(self, slots: int | None) -> None:
        """Want so many slots with a worker from now on; None gives the pool back its own ``min_slots`` and ``slots``.

        More get their workers at once: `wait_ready` waits for them. Fewer finish what they run, those first that
        have no worker, then those with the fewest calls. An elastic pool does not size itself meanwhile.

        Args:
            slots: from 1 to the pool's ``slots``. To run nothing at all, `drain` it.

        Raises:
            PoolClosed: the pool drains, or its block was left.
            ValueError, TypeError: it cannot be so many; nothing was changed.
        """
        scale(self._core, slots)

    async def recycle(self, slot: int) -> str:
        """Replace the worker of a slot, when its turn comes: it finishes its calls, and a new one takes its place.

        One slot at a time is without a worker because of this, however many are asked for, and beside ``max_jobs``,
        ``ttl`` and ``max_memory_mb``. A slot that has no worker gets one anyhow: this waits for it.

        Returns:
            The id of the worker that serves there now.

        Raises:
            SpawnError: the new worker could not be made; the slot goes on trying.
            FolkError: the runtime's workers may not be replaced, or the slot is to have none.
            PoolClosed: the pool drains, or its block was left.
            ValueError: there is no such slot.

        Always a checkpoint. Cancellation: the worker is replaced all the same.
        """
        return await recycle(self._core, slot)

    def statistics(self, *, memory: bool = False) -> PoolStatistics:
        """The pool at this instant; a frozen record.

        Args:
            memory: ask the system how large each worker is, which takes some microseconds a slot.
        """
        core = self._core
        now = trio.current_time()
        slots = tuple(
            slot_statistics(slot, now, core.dispatch.lines.length(slot.number), memory=memory)
            for slot in core.slots
        )
        return PoolStatistics(
            name=core.name,
            slots=slots,
            queued=core.dispatch.queued,
            held=core.dispatch.held,
            running=sum(slot.running for slot in slots),
            wanted=len(core.wanted()),
            ready=core.ready(),
            generation=core.generations.current,
            draining=core.closing,
            spares=sum(spare.incarnation is not None for spare in core.spares),
            budget=core.spent(),
            **attrs.asdict(core.counts),
        )

    def events(self, *, buffer: int = 1024) -> AbstractContextManager[EventStream]:
        """What happens to the workers from now on: ``with pool.events() as events``, then ``async for``.

        Args:
            buffer: how many events wait for a slow listener; what no longer fits is counted in ``dropped``.
        """
        return self._core.listeners.listen(buffer)

    def add_instrument(self, instrument: Instrument) -> None:
        """Have an instrument told what happens from now on; one that is there already is not added twice.

        Raises:
            TypeError: it is no `trio_folk.abc.Instrument`.
        """
        self._core.instruments.add(instrument)

    def remove_instrument(self, instrument: Instrument) -> None:
        """Tell an instrument no more, not even the end of calls whose beginning it was told.

        Raises:
            KeyError: it is not there: never added, or removed because it raised.
        """
        self._core.instruments.remove(instrument)

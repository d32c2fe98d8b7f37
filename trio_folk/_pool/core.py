"""What the parts of a pool share: its slots, its queue, its counts, and the decisions that touch several of them.

Every method is synchronous: nothing can happen between reading this state and writing it.

Knows all parts of the pool. Does not wait, and does not know the wire or processes.
"""

from __future__ import annotations

import trio

from .._errors import CrashLoop, FolkError, PoolClosed, SpawnBudgetExhausted, SpawnError
from .._spawn import BudgetStatistics, SpawnBudget, SpawnCoordinator
from ..abc import Job, Ladder, Router, Runtime
from .accounts import Scope, combined, open_accounts
from .config import PoolConfig
from .dispatch import Dispatch
from .events import EventKind, Listeners, PoolEvent
from .generations import Generations
from .hashing import ConsistentHash
from .incarnation import Incarnation, Slot
from .instruments import Instruments
from .recycling import Recycling
from .routing import Routing
from .states import SlotEvent, SlotState
from .statistics import Counts

__all__ = ["Core"]

_UNSET = object()


class Core:
    """The state of one pool.

    Attributes:
        opened: the first worker is ready, or every slot's first attempt has failed.
        closed: supervision has ended; no worker is left.
        quiet: the pool drains and no call is left.
        body: the scope of the user's block, cancelled if supervision fails.
        supervision: the scope of all slot supervisors; cancelled to take every worker down its ladder.
        sizing: the scope of the wait until the pool must grow or shrink.
        failure: what ended the pool: CrashLoop, or whatever supervision failed of.
        generations: the number of the code that new workers are born with, and who follows it.
        slots: the seats whose workers take calls.
        accounts: the budgets that attempts are spent from: one, unless the runtime has parts.
        spares: the seats whose workers wait until a slot needs one; numbered after the slots.
        fewest, most: between them is how many slots are wanted; one number where the pool was scaled by hand.
        lives: the nursery of the workers' lives, and of their supervisors.
        failed_attempts: failed attempts since a worker was last ready.
        degraded: the budget was used up and no slot could serve, and since then no worker has become ready.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: PoolConfig,
        coordinator: SpawnCoordinator | None,
        router: Router | None,
        name: str,
    ) -> None:
        self.runtime = runtime
        self.config = config
        self.name = name
        self.budget = config.budget or SpawnBudget.for_slots(config.slots + config.spares)
        self.coordinator = coordinator or SpawnCoordinator(self.budget)
        self.degraded = False
        self.failed_attempts = 0
        self.generations = Generations()
        self.recyclable = runtime.traits.recyclable
        self.ladder = Ladder(
            cancel=config.cancel_grace, stop=config.terminate_grace, terminate=config.terminate_grace
        )
        accounts = open_accounts(runtime, config, name)
        self.accounts = list(dict.fromkeys(accounts))
        self.slots = [
            Slot(number, accounts[number], wanted=number < config.fewest) for number in range(config.slots)
        ]
        self.spares = [
            Slot(number, accounts[number], spare=True)
            for number in range(config.slots, config.slots + config.spares)
        ]
        self.fewest, self.most = config.fewest, config.slots
        self.lives: trio.Nursery | None = None
        self.dispatch = Dispatch(config.max_queue)
        self.routing = Routing(router or ConsistentHash(), self.slots, self.dispatch)
        self.recycling = Recycling(self.retire)
        self.listeners = Listeners()
        self.instruments = Instruments()
        self.counts = Counts()
        self.active = 0
        self.closing = False
        self.opened = trio.Event()
        self.closed = trio.Event()
        self.quiet = trio.Event()
        self.changed = trio.Event()
        self.body = trio.CancelScope()
        self.supervision = trio.CancelScope(shield=True)
        self.sizing = trio.CancelScope()
        self.failure: BaseException | None = None

    # -- calls

    def accompany(self, job: Job) -> None:
        """Give a job the caller's context variables to take along."""
        found = {each.name: each.get(_UNSET) for each in self.config.context}
        job.context = {name: value for name, value in found.items() if value is not _UNSET}

    def begin(self) -> None:
        """A call, lease or map begins.

        Raises:
            PoolClosed: the pool takes no more.
        """
        if self.closing:
            raise self.closed_error()
        self.active += 1

    def finish(self) -> None:
        """It has ended."""
        self.active -= 1
        if self.closing and not self.active:
            self.quiet.set()

    def release(self, incarnation: Incarnation) -> None:
        """A call on this worker has ended; decide what the worker does next."""
        changed = self.dispatch.release(incarnation)
        if incarnation.limited:
            self.look_if_due(incarnation)
        if incarnation.retiring is None:
            if changed:
                self.dispatch.offer(incarnation)
        else:
            incarnation.stop_if_done()

    def closed_error(self) -> PoolClosed:
        """Why no call is taken any more."""
        return PoolClosed(
            f"the pool {self.name!r} is closed: it drains, or its block was left",
            stage="queue",
            hint="start calls inside `async with open_pool(...)`, before drain()",
        )

    # -- workers

    def retire(self, incarnation: Incarnation, reason: str) -> None:
        """A healthy worker takes no more calls, and is stopped once the running ones have ended."""
        self.counts.recycled += 1
        self.dispatch.remove(incarnation)
        self.tell("retiring", str(incarnation.handle.id), reason)
        incarnation.retire(reason)

    def look_if_due(self, incarnation: Incarnation) -> None:
        """Have it replaced if it is due: when its turn comes, or at once after its very last call."""
        if incarnation.over or (reason := incarnation.due(trio.current_time())) is None:
            return
        if incarnation.exhausted():
            self.retire(incarnation, reason)
        else:
            self.recycling.ask(incarnation, reason)

    def note_served(self) -> None:
        """A slot has a worker: there is no crash loop, or no more."""
        self.failed_attempts = 0
        self.degraded = False
        self.opened.set()

    def attempt_failed(self, slot: Slot, worker: str, error: SpawnError) -> None:
        """An attempt to get a worker failed."""
        self.counts.boot_failures += 1
        slot.failures += 1
        slot.on(SlotEvent.FAIL)
        self.tell("boot_failed", worker, error.message)
        if slot.spare:
            self.note_spare_failure(slot, error)
            return
        opened = self.opened.is_set()
        self.note_failure(slot, error)
        self.failed_attempts += 1
        # Boots that fail slowly never fill the window; as many in a row are a crash loop all the same.
        if self.failed_attempts >= self.budget.attempts and not self.ready():
            self.note_crash_loop(opened)

    def note_failure(self, slot: Slot, error: SpawnError) -> None:
        """A slot has no worker for this reason."""
        slot.failure = error
        self.routing.note_gone(slot)
        self.recycling.settled(slot.number)
        if all(each.failure is not None for each in self.wanted()):
            self.opened.set()
        self.note_change()

    def note_spare_failure(self, slot: Slot, error: SpawnError) -> None:
        """There is no spare for this reason: a pity, and no more."""
        slot.failure = error
        self.recycling.settled(slot.number)

    def exhausted(self, slot: Slot, refusal: SpawnBudgetExhausted) -> None:
        """A slot was refused an attempt. If no other can serve, or may yet, this is a crash loop."""
        if slot.state is not SlotState.FAILED:
            slot.on(SlotEvent.GIVE_UP)
            self.tell("slot_failed", None, f"slot {slot.number}: {refusal.message}")
        slot.retry_at = trio.current_time() + refusal.retry_after
        if slot.spare:
            self.note_spare_failure(slot, slot.failure or refusal)
            return
        opened = self.opened.is_set()
        self.note_failure(slot, slot.failure or refusal)
        if all(each.state is SlotState.FAILED for each in self.wanted()):
            self.note_crash_loop(opened)

    def note_crash_loop(self, opened: bool) -> None:
        """No slot can serve, and none is about to: the pool ends, or its callers are told from now on."""
        if self.degraded:
            return
        self.degraded = True
        if opened and self.config.on_crash_loop == "raise":
            self.crash(self.crash_loop())
        else:
            self.dispatch.refuse_all(self.crash_loop)

    def crash(self, error: CrashLoop) -> None:
        """End the pool: its block is cancelled, and whoever waits for a worker is told why."""
        self.closing = True
        self.dispatch.refuse_all(self.crash_loop)
        self.fail(error)

    def crash_loop(self) -> CrashLoop:
        """The crash loop that this pool is in, as an error of its own for each who gets it."""
        failures = (self.coordinator.failures(each.scope) for each in self.accounts)
        spent = [each for part in failures for each in part if isinstance(each, FolkError)]
        known = [slot.failure for slot in self.slots if slot.failure is not None]
        return CrashLoop(
            f"no slot of pool {self.name!r} has a worker, and the budget of {self.budget} is used up",
            tuple(spent or known),
            self.spent().retry_after,
            hint="mend what the last failure names; the pool tries again when the budget allows",
        )

    def spent(self) -> BudgetStatistics:
        """What was spent of the budget, or of the budgets of all parts."""
        records = [self.coordinator.snapshot(each.scope) for each in self.accounts]
        return combined(Scope(self.name), records)

    def note_change(self) -> None:
        """Wake whoever waits for slots to become ready."""
        self.changed.set()
        self.changed = trio.Event()

    def wanted(self) -> list[Slot]:
        """The slots that are to have a worker: all, unless the pool is elastic or was scaled."""
        return [slot for slot in self.slots if slot.wanted]

    def ready(self) -> int:
        """How many slots have a worker that serves."""
        return sum(slot.incarnation is not None and slot.incarnation.serves for slot in self.slots)

    # -- the end

    def drain(self) -> None:
        """Take no more calls."""
        if not self.closing:
            self.closing = True
            self.tell("draining")
            self.note_change()
        if not self.active:
            self.quiet.set()

    def close(self) -> None:
        """End everything now: waiting calls are refused, and every worker is taken down its ladder."""
        self.drain()
        self.dispatch.refuse_all(self.closed_error)
        self.supervision.cancel()

    def fail(self, error: BaseException) -> None:
        """Supervision itself failed: the user's block is cancelled, and told why."""
        self.failure = error
        self.body.cancel()

    def note_closed(self) -> None:
        """Supervision has ended."""
        self.closing = True
        for slot in (*self.slots, *self.spares):
            slot.incarnation = None
            slot.on(SlotEvent.CLEAR)
        self.dispatch.refuse_all(self.closed_error)
        self.opened.set()
        self.closed.set()
        self.note_change()
        self.listeners.close()

    def tell(self, kind: EventKind, worker: str | None = None, reason: str | None = None) -> None:
        """Tell who listens that something has happened now."""
        self.note(PoolEvent(kind, trio.current_time(), worker, reason))

    def note(self, event: PoolEvent) -> None:
        """Tell who listens."""
        self.listeners.tell(event)
        if self.instruments.of_workers:
            self.instruments.tell_event(event)

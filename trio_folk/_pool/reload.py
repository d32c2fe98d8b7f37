"""Reload: new code takes over slot by slot, behind a canary, or not at all.

Stopping the old before the new has proved itself turns a broken import into an outage. So the first new worker
boots beside the old ones; only when it is ready, and has passed the user's check, does anything change.

Invariants
    1. A slot's old worker takes calls until the new one is ready to.
    2. Until the canary has passed, whatever is reborn is born in the old generation.
    3. Every slot has one worker that serves whenever this is cancelled.
    4. Who asks while a reload runs gets one that began after he asked.

Knows the core and how a worker is spawned. Does not know what code is.
Picture: docs/design/reload.md
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from .._errors import FolkError, PoolClosed, ReloadFailed, SpawnBudgetExhausted, SpawnError
from ..abc import Rung
from .births import conceive, spawn
from .core import Core
from .incarnation import Incarnation, Slot
from .lease import Lease
from .reload_failures import early_end, failed_check
from .reports import ReloadReport, SlotReload, record
from .seating import give, swap
from .states import SlotState

__all__ = ["Check", "Reloading"]

Check = Callable[[Lease], Awaitable[object]]


class Reloading:
    """The reloads of one pool: one at a time, and as few as will do."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = trio.Lock()
        self._asked = 0
        self._served = 0
        self._checks: list[Check] = []
        self._last: ReloadReport | FolkError | None = None

    async def reload(self, check: Check | None) -> ReloadReport:
        """Reload, or share a reload that begins after this."""
        self._asked += 1
        mine = self._asked
        if check is not None and check not in self._checks:
            self._checks.append(check)
        async with self._turn:
            if mine <= self._served and self._last is not None:
                return _again(self._last)
            self._served, checks, self._checks = self._asked, self._checks, []
            self._last = None  # while it runs; and after a cancellation, so that the next asker runs his own
            try:
                report = await self._run(checks)
            except FolkError as error:
                self._last = error
                raise
            self._last = report
            return report

    async def _run(self, checks: list[Check]) -> ReloadReport:
        core = self._core
        began = trio.current_time()
        if core.closing:
            raise core.closed_error()
        if not core.recyclable:
            await trio.lowlevel.checkpoint()
            left = tuple(slot.number for slot in core.slots)
            return ReloadReport(generation=core.generations.current, slots=(), seconds=0.0, left=left)
        before, generation = core.generations.current, core.generations.draw()
        rollout = _Rollout(generation)
        with core.instruments.reload(core.name, generation):
            try:
                await self._canary(rollout, checks)
                await self._roll_out(rollout)
            except (SpawnError, ReloadFailed) as error:
                raise await self._give_up(before, rollout.done, error, began) from error
            finally:
                core.runtime.forget(core.generations.current)
        return self._report(rollout.done, began)

    async def _canary(self, rollout: _Rollout, checks: list[Check]) -> None:
        """The first new worker, in a slot that has an old one if there is any, else beside those that boot."""
        core = self._core
        seated = [slot for slot in core.wanted() if slot.incarnation is not None]
        slot = (seated or core.wanted())[0]
        rollout.done.append(await self._renew(slot, rollout.generation, checks))
        rollout.ahead = [each for each in core.wanted() if each is not slot]

    async def _roll_out(self, rollout: _Rollout) -> None:
        """The other slots, some at a time; after a failure those that are in the middle of it finish."""
        config = self._core.config
        async with trio.open_nursery() as nursery:
            for _ in range(config.max_surge):
                nursery.start_soon(self._take_turns, rollout, self._surge)
            for _ in range(config.max_unavailable):
                nursery.start_soon(self._take_turns, rollout, self._replace)
        if rollout.error is not None:
            raise rollout.error

    async def _take_turns(
        self, rollout: _Rollout, turn: Callable[[Slot, int], Awaitable[SlotReload]]
    ) -> None:
        while rollout.ahead and rollout.error is None:
            slot = rollout.ahead.pop(0)
            try:
                rollout.done.append(await turn(slot, rollout.generation))
            except (SpawnError, ReloadFailed, PoolClosed) as error:
                rollout.error = rollout.error or error

    def _report(self, done: list[SlotReload], began: float) -> ReloadReport:
        seconds = trio.current_time() - began
        current = self._core.generations.current
        return ReloadReport(generation=current, slots=tuple(done), seconds=seconds)

    async def _surge(self, slot: Slot, generation: int) -> SlotReload:
        """One slot's turn: the new worker is ready before the old one goes. Failures are tried again."""
        return await self._renew(slot, generation, spend=True)

    async def _replace(self, slot: Slot, generation: int) -> SlotReload:
        """One slot's turn: the old worker goes first, and its supervisor makes the new one."""
        core, began = self._core, trio.current_time()
        old = await self._seated(slot)
        if old is None or old.handle.generation == generation:
            return record(slot, generation, began)
        drained = old.load
        core.retire(old, "reload: newer code takes its place")
        await self._leaving(slot, old)
        new = await self._seated(slot)
        if new is None and slot.failure is not None:
            raise slot.failure
        return record(slot, generation, began, old, new, drained)

    async def _renew(
        self, slot: Slot, generation: int, checks: Sequence[Check] | None = None, *, spend: bool = False
    ) -> SlotReload:
        """A new worker beside the old one, then in its place.

        Args:
            checks: of a canary, which is made even for a slot without a worker.
            spend: failures are tried again, within the budget.
        """
        core, began = self._core, trio.current_time()
        while True:
            old = slot.incarnation if checks is not None else await self._seated(slot)
            if checks is None and (old is None or old.handle.generation == generation):
                return record(slot, generation, began)
            new = await self._bear(slot, generation, checks or (), spend=spend)
            if new is None:
                continue
            if checks is not None:
                core.generations.announce(
                    generation
                )  # invariant 2; whoever dies while the old one drains is new
            old = slot.incarnation
            if old is not None and not old.over:
                swap(core, slot, new)
                drained = old.load
                await old.handle.condemned.wait()  # bounded by reload_drain_timeout
                return record(slot, generation, began, old, new, drained)
            if old is None and slot.wanted:
                core.tell("ready", str(new.handle.id))
                give(core, slot, new)
                return record(slot, generation, began, None, new)
            _discard(new)  # the old one died this moment, and the slot is about to get another
            if checks is not None:
                return record(slot, generation, began)

    async def _seated(self, slot: Slot) -> Incarnation | None:
        """The slot's worker, or None if it has none and is not about to get one."""
        core = self._core
        while True:
            if core.closing:
                raise core.closed_error()
            incarnation = slot.incarnation
            if incarnation is not None and incarnation.over:
                await self._leaving(slot, incarnation)
            elif incarnation is not None or slot.state is SlotState.FAILED or not slot.wanted:
                return incarnation
            else:
                await core.changed.wait()  # bounded by boot_timeout and the coordinator's backoff

    async def _leaving(self, slot: Slot, old: Incarnation) -> None:
        """A worker that takes no more calls leaves its slot, at the latest after reload_drain_timeout."""
        with trio.move_on_after(self._core.config.reload_drain_timeout):
            await old.handle.condemned.wait()
        if not old.handle.condemned.is_set():
            old.handle.terminate("reload_drain_timeout: its calls took longer than that", Rung.TERMINATE)
        while slot.incarnation is old:
            await self._core.changed.wait()  # its supervisor learns of it at the same time

    async def _bear(
        self, slot: Slot, generation: int, checks: Sequence[Check], *, spend: bool
    ) -> Incarnation | None:
        """A new worker beside the old one, ready and checked. None if it failed, and that was paid for."""
        core, coordinator = self._core, self._core.coordinator
        account = slot.account
        key = (account.scope, slot.number, "reload")
        await trio.sleep(coordinator.backoff(key))
        try:
            permit = coordinator.try_begin(key, scope=account.scope, budget=account.budget)
        except SpawnBudgetExhausted:
            if spend:
                raise
            permit = None  # a canary, and the way back, spend nothing: they are how a crash loop is mended
        new: Incarnation | None = None
        try:
            async with coordinator.limiter:
                handle = await spawn(core, conceive(core, slot, generation))
            new = Incarnation(slot, handle, permit, core.config, trio.current_time())
            for check in checks:
                await self._check(new, check)
            if new.over:
                raise await early_end(new)
        except BaseException as error:
            if new is not None:
                new.handle.terminate("reload: it does not take over")
            if permit is None:
                raise
            if spend and isinstance(error, SpawnError):
                permit.failed(error)
                return None
            permit.cancel()
            raise
        if permit is not None:
            permit.succeeded()
        return new

    async def _check(self, new: Incarnation, check: Check) -> None:
        lease = Lease._of(self._core, new)
        try:
            await check(lease)
        except Exception as error:
            raise failed_check(new, error) from error
        finally:
            lease._end()

    async def _give_up(
        self, before: int, done: list[SlotReload], error: FolkError, began: float
    ) -> ReloadFailed:
        """What to raise; first back to the old code, where some slots have the new and the runtime can."""
        core = self._core
        how = "every slot has its old worker"
        if done and core.runtime.traits.keeps_generations:
            core.generations.announce(before)
            try:
                done = [await self._renew(core.slots[each.slot], before) for each in done]
                how = "every slot is back in the old code"
            except SpawnError as again:
                how = f"and so did the way back ({again.message}): see the report for who has which code"
        elif done:
            how = f"{len(done)} of {len(core.slots)} slots have the new code: the runtime cannot go back"
        failure = ReloadFailed(f"the reload failed, {how}: {error.message}", hint=error.hint)
        failure._inherit(error)
        failure.remote_traceback = getattr(error, "remote_traceback", None)
        failure.report = self._report(done, began) if done else None
        return failure


@attrs.define
class _Rollout:
    """A reload after its canary: what is done, what is ahead, and the first failure."""

    generation: int
    done: list[SlotReload] = attrs.Factory(list)
    ahead: list[Slot] = attrs.Factory(list)
    error: FolkError | None = None


def _discard(new: Incarnation) -> None:
    new.handle.terminate("reload: its slot got a worker by itself")
    new.give_back()


def _again(last: ReloadReport | FolkError) -> ReloadReport:
    """The shared end; an error as an object of its own, for its traceback is one caller's."""
    if isinstance(last, FolkError):
        raise copy.copy(last)
    return last

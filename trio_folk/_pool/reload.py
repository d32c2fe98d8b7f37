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

from .._errors import FolkError, ReloadFailed, SpawnBudgetExhausted, SpawnError
from .core import Core
from .incarnation import Incarnation, Slot
from .lease import Lease
from .states import SlotState
from .supervisor import conceive, spawn

__all__ = ["Check", "ReloadReport", "Reloading", "SlotReload"]

Check = Callable[[Lease], Awaitable[object]]


@attrs.frozen(kw_only=True)
class SlotReload:
    """What a reload did to one slot.

    Attributes:
        slot: its number.
        old: the worker that was replaced, or None if the slot had none.
        new: the worker that took its place, or None if the slot gets one by itself at its next attempt.
        generation: of the worker it has now, or will be born with.
        seconds: how long its turn took, the drain of the old worker included.
        drained: calls that ran on the old worker when it was replaced.
    """

    slot: int
    old: str | None
    new: str | None
    generation: int
    seconds: float
    drained: int


@attrs.frozen(kw_only=True)
class ReloadReport:
    """What a reload did.

    Attributes:
        generation: the number of the code that new workers are born with now.
        slots: one record for each slot that had its turn, in that order.
        seconds: how long it all took.
        left: slots that were left alone, because their workers may not be replaced.
    """

    generation: int
    slots: tuple[SlotReload, ...]
    seconds: float
    left: tuple[int, ...] = ()


class Reloading:
    """The reloads of one pool: one at a time, and as few as will do."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = trio.Lock()
        self._latest = 0
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
            return ReloadReport(generation=core.generation, slots=(), seconds=0.0, left=left)
        before, self._latest = core.generation, self._latest + 1
        done: list[SlotReload] = []
        for slot in sorted(core.slots, key=lambda each: each.incarnation is None):
            try:
                turn = (
                    self._renew(slot, self._latest, spend=True)
                    if done
                    else self._renew(slot, self._latest, checks)
                )
                done.append(await turn)
            except (SpawnError, ReloadFailed) as error:
                raise await self._give_up(before, done, error, began) from error
            core.generation = self._latest  # invariant 2
        core.runtime.forget(core.generation)
        return self._report(done, began)

    def _report(self, done: list[SlotReload], began: float) -> ReloadReport:
        seconds = trio.current_time() - began
        return ReloadReport(generation=self._core.generation, slots=tuple(done), seconds=seconds)

    async def _renew(
        self, slot: Slot, generation: int, checks: Sequence[Check] = (), *, spend: bool = False
    ) -> SlotReload:
        """One slot's turn. With ``spend`` its failures are tried again, within the budget."""
        began = trio.current_time()
        while (old := await self._seated(slot)) is not None and old.handle.generation != generation:
            new = await self._bear(slot, generation, checks, spend=spend)
            if new is None:
                continue
            if old.seated and not old.over:
                self._core.swap(slot, new)
                drained = old.load
                await old.handle.condemned.wait()  # bounded by reload_drain_timeout
                return _record(slot, generation, began, old, new, drained)
            _discard(new)  # the old one died meanwhile, and the slot is getting a worker by itself
        return _record(slot, generation, began)

    async def _seated(self, slot: Slot) -> Incarnation | None:
        """The slot's worker, or None if it has none and is not about to get one."""
        core = self._core
        while True:
            if core.closing:
                raise core.closed_error()
            if slot.incarnation is not None or slot.state is SlotState.FAILED:
                return slot.incarnation
            await core.changed.wait()  # bounded by boot_timeout and the coordinator's backoff

    async def _bear(
        self, slot: Slot, generation: int, checks: Sequence[Check], *, spend: bool
    ) -> Incarnation | None:
        """A new worker beside the old one, ready and checked. None if it failed, and that was paid for."""
        core, coordinator = self._core, self._core.coordinator
        assert slot.lives is not None
        key = (core.scope, slot.number, "reload")
        await trio.sleep(coordinator.backoff(key))
        try:
            permit = coordinator.try_begin(key, scope=core.scope, budget=core.budget)
        except SpawnBudgetExhausted:
            if spend:
                raise
            permit = None  # a canary, and the way back, spend nothing: they are how a crash loop is mended
        new: Incarnation | None = None
        try:
            async with coordinator.limiter:
                handle = await spawn(core, conceive(core, slot, generation), slot.lives)
            new = Incarnation(slot, handle, permit, core.config, trio.current_time())
            for check in checks:
                await self._check(new, check)
            if new.over:
                raise ReloadFailed(f"the new worker ended before it took over: {handle.reason}")
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
            failure = ReloadFailed(
                f"the check of the new worker failed: {error!r}",
                worker=str(new.handle.id),
                pid=new.handle.pid,
                generation=new.handle.generation,
                stderr=new.handle.stderr,
                stage="check",
            )
            raise failure from error
        finally:
            lease._end()

    async def _give_up(
        self, before: int, done: list[SlotReload], error: FolkError, began: float
    ) -> ReloadFailed:
        """What to raise; first back to the old code, where some slots have the new and the runtime can."""
        core = self._core
        how = "every slot has its old worker"
        if done and core.runtime.traits.keeps_generations:
            core.generation = before
            try:
                done = [await self._renew(core.slots[each.slot], before) for each in done]
                how = "every slot is back in the old code"
            except SpawnError as again:
                how = f"and so did the way back ({again.message}): see the report for who has which code"
        elif done:
            how = f"{len(done)} of {len(core.slots)} slots have the new code: the runtime cannot go back"
        failure = ReloadFailed(
            f"the reload failed, {how}: {error.message}",
            worker=error.worker,
            pid=error.pid,
            exit_code=error.exit_code,
            signal=error.signal,
            generation=error.generation,
            stderr=error.stderr,
            stage=error.stage,
            hint=error.hint,
        )
        failure.remote_traceback = getattr(error, "remote_traceback", None)
        failure.report = self._report(done, began) if done else None
        return failure


def _discard(new: Incarnation) -> None:
    new.handle.terminate("reload: its slot got a worker by itself")
    new.give_back()


def _record(
    slot: Slot,
    generation: int,
    began: float,
    old: Incarnation | None = None,
    new: Incarnation | None = None,
    drained: int = 0,
) -> SlotReload:
    return SlotReload(
        slot=slot.number,
        old=str(old.handle.id) if old else None,
        new=str(new.handle.id) if new else None,
        generation=generation,
        seconds=trio.current_time() - began,
        drained=drained,
    )


def _again(last: ReloadReport | FolkError) -> ReloadReport:
    """The shared end; an error as an object of its own, for its traceback is one caller's."""
    if isinstance(last, FolkError):
        raise copy.copy(last)
    return last

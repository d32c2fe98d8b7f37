"""Plugins boot in order, are rolled back if one fails, and are shut down the other way round, each in its own time."""

from __future__ import annotations

import logging

import pytest
import trio

from trio_folk import FolkError, WorkerPool, admin, open_pool
from trio_folk.testing import FaultyRuntime


class Recorded(admin.Plugin):
    """Writes down what happens to it, and does it as slowly or badly as it is told."""

    def __init__(self, name: str, log: list[str], **what: object) -> None:
        self.name = name
        self.log = log
        self.what = what

    async def _do(self, stage: str) -> None:
        self.log.append(f"{self.name} {stage}")
        what = self.what.get(stage)
        if isinstance(what, Exception):
            raise what
        if isinstance(what, int | float):
            await trio.sleep(what)

    async def boot(self, pool: WorkerPool) -> None:
        assert pool.statistics().ready
        await self._do("boot")

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._do("start")
        if self.what.get("started") is not False:
            task_status.started()
        await self._do("run")
        try:
            if self.what.get("stays", True):
                await trio.sleep_forever()
        finally:
            self.log.append(f"{self.name} cancelled")

    async def shutdown(self) -> None:
        await self._do("shutdown")


def some(log: list[str], **seconds: dict[str, object]) -> list[Recorded]:
    return [Recorded(name, log, **seconds.get(name, {})) for name in ("a", "b", "c")]


STARTED = ["a boot", "a start", "a run", "b boot", "b start", "b run"]


async def test_plugins_boot_in_order_and_leave_in_reverse(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 1; each is still running while it is shut down."""
    log: list[str] = []
    async with open_pool(FaultyRuntime(), slots=1) as pool, admin.open_plugins(pool, some(log)) as plugins:
        await trio.testing.wait_all_tasks_blocked()
        assert plugins.names == ("a", "b", "c")
        assert repr(plugins) == "<Plugins a, b, c>"
        assert log == [*STARTED, "c boot", "c start", "c run"]
        log.clear()
    ends = [f"{name} {end}" for name in "cba" for end in ("shutdown", "cancelled")]
    assert log == ends
    assert plugins.names == ()


@pytest.mark.parametrize("stage", ["boot", "start"])
async def test_failure_rolls_back_what_had_booted(autojump_clock: trio.testing.MockClock, stage: str) -> None:
    """In reverse; what failed to boot is not shut down, and what failed to start is. The block never begins."""
    log: list[str] = []
    plugins = some(log, c={stage: RuntimeError("no port")})
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(FolkError, match=r"the plugin 'c' .*: RuntimeError: no port") as caught:
            async with admin.open_plugins(pool, plugins):
                pytest.fail("it began")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert log[: len(STARTED)] == STARTED
        own = ["c shutdown"] if stage == "start" else []
        ends = [f"{name} {end}" for name in "ba" for end in ("shutdown", "cancelled")]
        assert [each for each in log[len(STARTED) :] if each not in ("c boot", "c start")] == own + ends
        assert pool.statistics().ready == 1


@pytest.mark.parametrize("stage", ["boot", "start"])
async def test_boot_has_its_time(autojump_clock: trio.testing.MockClock, stage: str) -> None:
    """Then it is cancelled, and counts as failed; the others had theirs."""
    log: list[str] = []
    plugins = some(log, a={"boot": 29}, b={"boot": 29}, c={stage: 31})
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(FolkError, match=f"the plugin 'c' did not {stage} within 30 s"):
            async with admin.open_plugins(pool, plugins):
                pytest.fail("it began")
        assert trio.current_time() < 2 * 29 + 31


async def test_plugin_that_never_says_that_it_started_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In words, and not in trio's."""
    plugins = some([], c={"started": False, "stays": False})
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(FolkError, match="the plugin 'c' did not start"):
            async with admin.open_plugins(pool, plugins):
                pytest.fail("it began")


async def test_shutdown_that_hangs_costs_its_own_time_alone(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Invariant 3; and so does one that fails. Both are logged, by name."""
    log: list[str] = []
    plugins = some(log, b={"shutdown": 1000}, c={"shutdown": OSError("disk full")})
    with caplog.at_level(logging.ERROR, "trio_folk.admin"):
        async with open_pool(FaultyRuntime(), slots=1) as pool, admin.open_plugins(pool, plugins):
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(10)
    assert [each for each in log if each.endswith("shutdown")] == ["c shutdown", "b shutdown", "a shutdown"]
    assert "'c' failed to shut down" in caplog.text
    assert "'b' did not shut down within 10 s" in caplog.text


async def test_cancelled_block_shuts_its_plugins_down_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Shielded, within each one's time: a plugin that says goodbye takes 2 s here."""
    log: list[str] = []
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with trio.move_on_after(5):
            async with admin.open_plugins(pool, some(log, a={"shutdown": 2}, b={"shutdown": 2})):
                await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(9)
    assert [each for each in log if each.endswith("shutdown")] == ["c shutdown", "b shutdown", "a shutdown"]


async def test_block_that_fails_leaves_its_own_error_bare(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever the plugins are."""
    log: list[str] = []
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(KeyError):
            async with admin.open_plugins(pool, some(log)):
                raise KeyError
        with pytest.raises(ExceptionGroup):
            async with admin.open_plugins(pool, some(log)):
                raise ExceptionGroup("mine", [KeyError()])
    assert log.count("a shutdown") == 2


async def test_plugin_that_fails_later_ends_the_block(autojump_clock: trio.testing.MockClock) -> None:
    """As one error that names it; the others are shut down, and it too."""
    log: list[str] = []

    class Dies(Recorded):
        async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            await trio.sleep(3)
            raise ConnectionError("gone")

    plugins = [Recorded("a", log), Dies("b", log), Recorded("c", log)]
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(
            FolkError, match="the plugin 'b' failed while it ran: ConnectionError: gone"
        ) as caught:
            async with admin.open_plugins(pool, plugins):
                await trio.sleep_forever()
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert trio.current_time() == pytest.approx(3)
        assert [each for each in log if each.endswith("shutdown")] == [
            "c shutdown",
            "b shutdown",
            "a shutdown",
        ]
        with pytest.raises(BaseExceptionGroup) as both:
            async with admin.open_plugins(pool, [Dies("b", log)]):
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError
        assert both.group_contains(KeyError)
        assert both.group_contains(FolkError)


async def test_plugin_may_return_early(autojump_clock: trio.testing.MockClock) -> None:
    """One that has nothing to do for long: its methods stay."""

    class Once(admin.Plugin):
        name = "once"

        def methods(self):
            return {"ask": self.ask}

        async def ask(self, params: object) -> object:
            return params

    async with open_pool(FaultyRuntime(), slots=1) as pool, admin.open_plugins(pool, [Once()]) as plugins:
        await trio.sleep(10)
        assert await plugins.methods()["once.ask"](3) == 3


@pytest.mark.parametrize("names", [["admin"], [""], ["Up"], ["a.b"], ["1"], ["a\n"], ["a", "a"]])
async def test_names_that_could_be_mistaken_are_refused(
    autojump_clock: trio.testing.MockClock, names: list[str]
) -> None:
    """Before any plugin boots."""
    log: list[str] = []
    async with open_pool(FaultyRuntime(), slots=1) as pool:
        with pytest.raises(ValueError, match="plugin"):
            async with admin.open_plugins(pool, [Recorded(name, log) for name in names]):
                pytest.fail("it began")
    assert log == []

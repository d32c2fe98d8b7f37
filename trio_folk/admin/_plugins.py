"""Plugins in their order: booted one after another, shut down the other way round, none at another's expense.

One deadline for all lets the first plugin that hangs eat the time of the others, and the one that writes a last
metric never comes to it.

Invariants
    1. A plugin boots when those before it have started; it is shut down before they are.
    2. Each that has booted is shut down once, however the block is left; one that failed to boot is not.
    3. Each has its own time to boot and to shut down, and what it raises in shutdown keeps no other from it.

Knows plugins. Does not know what they do, nor sockets.
Picture: docs/design/admin.md
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import final

import trio

from .._errors import FolkError
from .._pool import WorkerPool
from .._pool.background import open_background
from ._plugin import Method, Plugin

__all__ = ["Plugins", "no_methods", "open_plugins"]

_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")
_log = logging.getLogger("trio_folk.admin")


@final
class Plugins:
    """The plugins that have booted, from `open_plugins`; for ``admin.serve(pool, plugins=plugins)``."""

    def __init__(self) -> None:
        self._aboard: dict[str, Plugin] = {}

    def __repr__(self) -> str:
        return f"<Plugins {', '.join(self._aboard) or 'none'}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order in which they booted."""
        return tuple(self._aboard)

    def methods(self) -> dict[str, Method]:
        """What may be called, by its whole name: ``<plugin>.<method>``."""
        return {
            f"{name}.{method}": call
            for name, plugin in self._aboard.items()
            for method, call in plugin.methods().items()
        }


def no_methods() -> Mapping[str, Method]:
    """What may be called where there are no plugins."""
    return {}


@asynccontextmanager
async def open_plugins(pool: WorkerPool, plugins: Iterable[Plugin]) -> AsyncIterator[Plugins]:
    """Plugins beside a pool, for as long as the block lasts:

        async with open_pool(runtime) as pool, admin.open_plugins(pool, [Health(), Metrics()]) as aboard:
            await nursery.start(partial(admin.serve, pool, plugins=aboard))

    They boot in order, each when the one before has started. If one fails, those before it are shut down in reverse,
    and that failure leaves. When the block is left, in whatever way, all are shut down in reverse, each within its
    own ``shutdown_timeout`` and with its `run` cancelled afterwards; the pool still serves meanwhile.

    Raises:
        FolkError: a plugin failed to boot or to start, took too long for it, or failed while it ran: the error names
            it, and its cause says why. A failure while it ran comes together with the block's own, if any, as a group.
        ValueError: a name is no name, or two plugins have the same.

    Entering and leaving are always checkpoints. Cancellation: those that have booted are shut down, which is shielded,
    within each one's ``shutdown_timeout``.
    """
    several = [*plugins]
    _check_names(several)
    aboard = Plugins()
    async with AsyncExitStack() as stack:
        for plugin in several:
            await stack.enter_async_context(_aboard(aboard, plugin, pool))
        yield aboard


def _check_names(plugins: list[Plugin]) -> None:
    names = [plugin.name for plugin in plugins]
    for name in names:
        if not _NAME.match(name) or name == "admin":
            raise ValueError(
                f"a plugin's name is lower-case, begins with a letter and is not 'admin': {name!r}"
            )
        if names.count(name) > 1:
            raise ValueError(f"two plugins are called {name!r}")


@asynccontextmanager
async def _aboard(aboard: Plugins, plugin: Plugin, pool: WorkerPool) -> AsyncIterator[None]:
    """One plugin, from its boot to its shutdown."""
    await _boot(plugin, pool)
    failures: list[FolkError] = []
    try:
        async with open_background() as nursery:
            try:
                await _start(nursery, plugin, failures)
                aboard._aboard[plugin.name] = plugin
                yield
            finally:
                aboard._aboard.pop(plugin.name, None)
                await _shut_down(plugin)
    except BaseException as error:
        if failures:
            both = f"the plugin {plugin.name!r} and the block beside it both failed"
            raise BaseExceptionGroup(both, [error, *failures]) from None
        raise
    if failures:
        raise failures[0]


async def _boot(plugin: Plugin, pool: WorkerPool) -> None:
    with trio.move_on_after(plugin.boot_timeout):
        try:
            await plugin.boot(pool)
            return
        except Exception as error:
            raise _failure(plugin, "could not boot", error) from error
    raise _late(plugin, "boot")


async def _start(nursery: trio.Nursery, plugin: Plugin, failures: list[FolkError]) -> None:
    with trio.move_on_after(plugin.boot_timeout):
        try:
            await nursery.start(_run, plugin, nursery, failures)
            return
        except Exception as error:
            raise _failure(plugin, "did not start", error) from error
    raise _late(plugin, "start")


async def _run(
    plugin: Plugin, nursery: trio.Nursery, failures: list[FolkError], *, task_status: trio.TaskStatus[None]
) -> None:
    status = _Started(task_status)
    try:
        await plugin.run(task_status=status)
    except Exception as error:
        if not status.given:
            raise
        failures.append(_failure(plugin, "failed while it ran", error))
        failures[-1].__cause__ = error
        nursery.cancel_scope.cancel()  # and so not in a group, which would also hold what the block raises


class _Started:
    """Whether a plugin has said that it started: from then on its failures are the block's."""

    def __init__(self, status: trio.TaskStatus[None]) -> None:
        self.given = False
        self._status = status

    def started(self, value: None = None) -> None:
        self.given = True
        self._status.started()


async def _shut_down(plugin: Plugin) -> None:
    """However the block is left; a plugin that hangs costs its own time."""
    with trio.move_on_after(plugin.shutdown_timeout, shield=True):
        try:
            await plugin.shutdown()
        except Exception:
            _log.exception("the plugin %r failed to shut down", plugin.name)
        return
    _log.error("the plugin %r did not shut down within %g s", plugin.name, plugin.shutdown_timeout)


def _failure(plugin: Plugin, what: str, error: Exception) -> FolkError:
    return FolkError(f"the plugin {plugin.name!r} {what}: {type(error).__name__}: {error}", stage="plugin")


def _late(plugin: Plugin, what: str) -> FolkError:
    return FolkError(
        f"the plugin {plugin.name!r} did not {what} within {plugin.boot_timeout:g} s",
        stage="plugin",
        hint="see what it waits for, or raise its boot_timeout",
    )

"""The desk: what may be asked of the pools, looked up by name, with the parameters checked before anything happens.

Knows pools and plugins' methods. Does not know sockets, nor who asks.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from .._pool import WorkerPool
from ._lookout import Lookout
from ._plain import plain
from ._plugin import Method
from ._pulse import Pulse
from ._terms import DRAIN, EVENTS, LIST, RECYCLE, RELOAD, SCALE, STATS, VERBS, WATCH

__all__ = ["Counter", "Desk", "NoSuchMethod"]

_SUMMARY = ("name", "generation", "draining", "wanted", "ready", "spares", "running", "held", "queued")
_TAKES: dict[str, tuple[str, ...]] = {
    LIST: (),
    STATS: ("pool",),
    RELOAD: ("pool",),
    RECYCLE: ("pool", "slot"),
    SCALE: ("pool", "slots"),
    DRAIN: ("pool",),
    EVENTS: ("pool",),
    WATCH: ("pool", "interval"),
}


class NoSuchMethod(Exception):
    """Neither the desk nor a plugin has it."""


@attrs.frozen(eq=False)
class Counter:
    """One pool at the desk."""

    pool: WorkerPool
    lookout: Lookout
    pulse: Pulse


class Desk:
    """All that can be asked.

    Args:
        pools: by name, each once.
        methods: the plugins', by their whole names, as they are now.

    Attributes:
        counters: one a pool, by its name.
    """

    def __init__(self, pools: Sequence[WorkerPool], methods: Callable[[], Mapping[str, Method]]) -> None:
        self.counters = {pool.name: Counter(pool, Lookout(pool), Pulse(pool)) for pool in pools}
        if len(self.counters) < len(pools):
            raise ValueError(
                "two pools have the same name, by which they would be told apart: open_pool(name=...)"
            )
        if not pools:
            raise ValueError("there is nothing to administer without a pool")
        self._methods = methods

    async def answer(self, method: str, params: Any) -> Any:
        """The answer to a question.

        Raises:
            NoSuchMethod: nobody has it.
            TypeError, ValueError: the parameters make no sense; nothing was done.
            Exception: what the pool or plugin raised.
        """
        if method in VERBS:
            told = check_params(method, params)
            if method in (LIST, STATS):
                return self._list() if method == LIST else self._statistics(told)
            return await _DO[method](self.counter(told).pool, told)
        wanted = self._methods().get(method)
        if wanted is None:
            raise NoSuchMethod(f"there is no method {method[:100]!r}")
        return await wanted(params)

    def counters_for(self, told: Mapping[str, Any]) -> list[Counter]:
        """The pool that is named, or all."""
        return list(self.counters.values()) if told.get("pool") is None else [self.counter(told)]

    def counter(self, told: Mapping[str, Any]) -> Counter:
        """The pool that is named, or the only one."""
        name, names = told.get("pool"), ", ".join(sorted(self.counters))
        if name is None and len(self.counters) == 1:
            return next(iter(self.counters.values()))
        if name is None:
            raise ValueError(f"several pools are served, name one of them: {names}")
        if not isinstance(name, str) or name not in self.counters:
            raise ValueError(f"there is no pool {name!r:.100}; there are: {names}")
        return self.counters[name]

    def _list(self) -> dict[str, Any]:
        pools = []
        for counter in self.counters.values():
            record = plain(counter.pool.statistics())
            pools.append({name: record[name] for name in _SUMMARY} | {"slots": len(record["slots"])})
        return {"pid": os.getpid(), "pools": pools, "methods": [*VERBS, *sorted(self._methods())]}

    def _statistics(self, told: Mapping[str, Any]) -> dict[str, Any]:
        return {"pools": [counter.lookout.record() for counter in self.counters_for(told)]}


def check_params(method: str, params: Any) -> dict[str, Any]:
    """The parameters as a map, with nothing in it that this method does not take."""
    told = {} if params is None or params == [] else params  # PHP writes an empty map as an array
    if not isinstance(told, dict):
        raise TypeError(f"{method} takes a map, not a value of type {type(told).__name__}")
    for name in told:
        if name not in _TAKES[method]:
            takes = ", ".join(_TAKES[method]) or "nothing"
            raise TypeError(f"{method} takes {takes}, and not {name!r:.100}")
    return told


def _whole(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {value!r:.100}")
    return value


async def _reload(pool: WorkerPool, told: Mapping[str, Any]) -> Any:
    return plain(await pool.reload())


async def _recycle(pool: WorkerPool, told: Mapping[str, Any]) -> Any:
    return {"worker": await pool.recycle(_whole(told, "slot"))}


async def _scale(pool: WorkerPool, told: Mapping[str, Any]) -> Any:
    if "slots" not in told:
        raise TypeError("slots is missing: a whole number, or nil for the pool's own")
    pool.scale(None if told["slots"] is None else _whole(told, "slots"))
    return {"wanted": pool.statistics().wanted}


async def _drain(pool: WorkerPool, told: Mapping[str, Any]) -> Any:
    return {"drained": await pool.drain()}


_DO: dict[str, Callable[[WorkerPool, Mapping[str, Any]], Awaitable[Any]]] = {
    RELOAD: _reload,
    RECYCLE: _recycle,
    SCALE: _scale,
    DRAIN: _drain,
}

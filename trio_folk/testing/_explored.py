"""A test as something to explore: its async fixtures stand around each run, and it is what is cancelled.

Knows fixtures as functions and their arguments. Does not know pytest's hooks.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import attrs
import trio

from ._explore.explore import explore_cancellation

__all__ = ["Later", "explored"]


@attrs.frozen(eq=False)
class Later:
    """A fixture that is made inside trio, for each run anew."""

    func: Callable[..., Any]
    given: Mapping[str, object]

    @classmethod
    def maybe(cls, func: Callable[..., Any], given: Mapping[str, object]) -> Later | None:
        """The fixture, if it is async or is given one that is."""
        is_async = inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func)
        return cls(func, given) if is_async or any(isinstance(each, cls) for each in given.values()) else None

    async def make(self, stack: AsyncExitStack, made: dict[Later, object]) -> object:
        """Make it, once a run, after those that it is given."""
        if self not in made:
            made[self] = await self._make(
                stack, {name: await _now(v, stack, made) for name, v in self.given.items()}
            )
        return made[self]

    async def _make(self, stack: AsyncExitStack, given: Mapping[str, object]) -> object:
        if inspect.isasyncgenfunction(self.func):
            return await stack.enter_async_context(asynccontextmanager(self.func)(**given))
        if inspect.isgeneratorfunction(self.func):
            return stack.enter_context(contextmanager(self.func)(**given))
        value = self.func(**given)
        return await value if inspect.isawaitable(value) else value


async def _now(value: object, stack: AsyncExitStack, made: dict[Later, object]) -> object:
    return await value.make(stack, made) if isinstance(value, Later) else value


def explored(test: Callable[..., Awaitable[object]], options: Mapping[str, Any]) -> Callable[..., None]:
    """A test that is not async, in the place of one that is. A clock among its fixtures is the clock of all runs."""

    def run(**given: object) -> None:
        @asynccontextmanager
        async def around() -> AsyncIterator[dict[str, object]]:
            async with AsyncExitStack() as stack:
                made: dict[Later, object] = {}
                yield {name: await _now(value, stack, made) for name, value in given.items()}

        async def call(given: Mapping[str, object]) -> None:
            await test(**given)

        settings = {"around": around, **options}
        clock = next((each for each in given.values() if isinstance(each, trio.abc.Clock)), None)
        if clock is not None:
            settings.setdefault("clock", lambda: clock)
        if "invariant" in settings:
            settings["invariant"] = partial(_ask, settings["invariant"])
        print(explore_cancellation(call, **settings))

    if "around" in options:
        raise TypeError("what stands around an explored test are its async fixtures, not around=")
    return run


def _ask(invariant: Callable[..., object], given: Mapping[str, object]) -> object:
    """An invariant may name the fixtures that it looks at."""
    wanted = inspect.signature(invariant).parameters
    return invariant(**{name: value for name, value in given.items() if name in wanted})

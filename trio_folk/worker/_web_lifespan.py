"""The lifespan of an ASGI application: started before the first request, told of the end after the last.

Knows ASGI's lifespan and trio. Does not know requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ._async_stream import CLOSING
from ._failures import traceback_text
from ._target import TargetError

__all__ = ["Lifespan"]


class Lifespan:
    """One application's.

    Args:
        app: the application.
        state: what it puts there in its startup, each request gets a copy of.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._told = trio.Event()  # what was asked for last has been answered, or never will be
        self._failure = ""
        self._supported = True
        self._asked: list[str] = []
        self._news = trio.Event()

    async def start(self, nursery: trio.Nursery) -> None:
        """Return when it has started; an application without a lifespan has.

        Raises:
            TargetError: it said that it failed.
        """
        nursery.start_soon(self._run)
        await self._ask("lifespan.startup")
        if self._failure:
            raise TargetError("RuntimeError", f"the application failed to start: {self._failure}")

    async def stop(self) -> None:
        """Tell it that there are no more requests, and wait for it, at most `CLOSING` seconds."""
        if self._supported:
            with trio.move_on_after(CLOSING):
                await self._ask("lifespan.shutdown")

    async def _ask(self, what: str) -> None:
        self._told = trio.Event()
        self._asked.append(what)
        self._news.set()
        await self._told.wait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._receive, self._send)
        except trio.Cancelled:
            raise
        except BaseException as error:
            # The specification: who raises here does not support it, and is served nevertheless.
            if self._supported and self._asked[-1:] == ["lifespan.shutdown"]:
                print(traceback_text(error, error.__traceback__), flush=True)
        finally:
            self._supported = False
            self._told.set()

    async def _receive(self) -> dict[str, str]:
        while not self._news.is_set():
            await self._news.wait()
        self._news = trio.Event()
        return {"type": self._asked[-1]}

    async def _send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"].endswith(".failed"):
            self._failure = str(message.get("message") or "it did not say why")
        self._told.set()

"""``trio-folk admin``: one question to a running pool, and its answer for people or for programs.

Knows the words of each verb, and how answers are shown. Does not know how they travel.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .._errors import FolkError
from ..admin import AdminClient, connect, find_sockets
from .admin_lines import event_line, overview_lines, reload_lines, statistics_lines

__all__ = ["run_admin"]

BROKEN_PIPE = 141
"""As of a program that SIGPIPE has ended."""


class _Usage(Exception):
    """The words make no sense."""


@attrs.frozen
class _Request:
    """What was asked for."""

    socket: str | None
    pool: str | None
    words: list[str]
    json: bool

    def show(self, told: Any, *lines: str) -> None:
        """Print an answer: as it is, or in these words."""
        if self.json:
            print(json.dumps(told, indent=2), flush=True)
        else:
            for line in lines:
                print(line, flush=True)

    def only_word(self, verb: str, what: str) -> str:
        if len(self.words) != 1:
            raise _Usage(f"{verb} takes {what}")
        return self.words[0]


def run_admin(options: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    request = _Request(options.socket, options.pool, options.words, options.json)
    try:
        if options.verb not in ("recycle", "scale", "call") and request.words:
            raise _Usage(f"{options.verb} takes no further word")
        return trio.run(_VERBS[options.verb], request)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains of it when it flushes, at exit
        return BROKEN_PIPE  # who read has had enough
    except _Usage as error:
        print(f"trio-folk admin: {error}", file=sys.stderr)
        return 2
    except (FolkError, ValueError, TypeError, trio.TooSlowError) as error:
        print(f"trio-folk admin: {error or 'the program does not answer'}", file=sys.stderr)
        return 1


async def _connect(request: _Request) -> AdminClient:
    if request.socket is None:
        found = find_sockets()
        if len(found) != 1:
            what = f"several programs serve pools, name one with --socket: {', '.join(found)}"
            raise _Usage(what if found else "no program serves a pool here, name its socket with --socket")
        return await connect(found[0])
    return await connect(request.socket)


async def _all(request: _Request) -> list[AdminClient]:
    """Every program that is meant."""
    if request.socket is not None:
        return [await connect(request.socket)]
    found = [await connect(path) for path in find_sockets()]
    if not found:
        raise _Usage("no program serves a pool here, name its socket with --socket")
    return found


async def _list(request: _Request) -> int:
    told = {client.path: await client.overview() for client in await _all(request)}
    request.show(told, *overview_lines(told))
    return 0


async def _stats(request: _Request) -> int:
    told = {client.path: await client.statistics(request.pool) for client in await _all(request)}
    request.show(told, *statistics_lines([each for pools in told.values() for each in pools]))
    return 0


async def _reload(request: _Request) -> int:
    client = await _connect(request)
    told = await client.reload(request.pool)
    request.show(told, *reload_lines(told))
    return 0


async def _recycle(request: _Request) -> int:
    word = request.only_word("recycle", "the number of a slot")
    if not word.isdecimal():
        raise _Usage(f"recycle takes the number of a slot, not {word!r}")
    client = await _connect(request)
    worker = await client.recycle(int(word), request.pool)
    request.show({"worker": worker}, f"slot {int(word)} has worker {worker}")
    return 0


async def _scale(request: _Request) -> int:
    word = request.only_word("scale", 'a number of slots, or "auto"')
    if word != "auto" and not word.isdecimal():
        raise _Usage(f'scale takes a number of slots, or "auto", not {word!r}')
    client = await _connect(request)
    wanted = await client.scale(None if word == "auto" else int(word), request.pool)
    request.show({"wanted": wanted}, f"{wanted} slot{'s' if wanted != 1 else ''} wanted")
    return 0


async def _drain(request: _Request) -> int:
    client = await _connect(request)
    drained = await client.drain(request.pool)
    request.show({"drained": drained}, "drained" if drained else "it takes no more calls, and some still run")
    return 0 if drained else 1


async def _events(request: _Request) -> int:
    client = await _connect(request)
    async with client.events(request.pool) as events:
        async for event in events:
            print(json.dumps(event) if request.json else event_line(event), flush=True)
    return 0


async def _call(request: _Request) -> int:
    if not 1 <= len(request.words) <= 2:
        raise _Usage("call takes a method, and perhaps its parameters as JSON")
    method, *rest = request.words
    try:
        params = json.loads(rest[0]) if rest else None
    except ValueError as error:
        raise _Usage(f"the parameters are no JSON: {error}") from None
    client = await _connect(request)
    print(json.dumps(await client.call(method, params), indent=2, default=repr))
    return 0


_VERBS: dict[str, Callable[[_Request], Awaitable[int]]] = {
    "list": _list,
    "stats": _stats,
    "reload": _reload,
    "recycle": _recycle,
    "scale": _scale,
    "drain": _drain,
    "events": _events,
    "call": _call,
}

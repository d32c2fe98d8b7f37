"""The words of ``trio-folk admin`` and ``trio-folk top``.

Knows argparse. Does not know pools.
"""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_admin"]

ADMIN = """\
See and steer a running pool, over the socket that its program serves:

  await nursery.start(trio_folk.admin.serve, pool)

  list           programs, their pools, and what may be called
  stats          all numbers of each pool and slot
  reload         let new code take over, slot by slot
  recycle SLOT   replace one slot's worker, when it has finished its calls
  scale N        want so many slots; "auto" for the pool's own number
  drain          take no more calls, and wait for those that run
  events         what happens to the workers, a line each, until Ctrl-C
  call METHOD [JSON]   call a method, e.g. a plugin's

Without --socket it is the only program that serves one here; list and stats show all.

exit status: 0 done; 1 it could not be done, or calls still run after drain;
2 wrong usage, or there is not exactly one such program; 130 after Ctrl-C,
which cancels what was asked for.
"""
TOP = """\
Watch running pools: slots, workers, rates, latency, memory, last deaths.

Keys: q or Ctrl-C ends. When a program has gone it says so, and waits for it.

exit status: 0 after q, or --once; 1 --once found nothing; 2 it cannot be shown;
130 after Ctrl-C.
"""
VERBS = ("list", "stats", "reload", "recycle", "scale", "drain", "events", "call")


def add_admin(commands: Any) -> dict[str, argparse.ArgumentParser]:
    """Add both commands; returns their parsers by name."""
    as_written = argparse.RawDescriptionHelpFormatter
    admin: argparse.ArgumentParser = commands.add_parser(
        "admin",
        help="see and steer a running pool",
        description=ADMIN,
        formatter_class=as_written,
        usage="trio-folk admin [options] VERB [WORD ...]",
    )
    admin.add_argument("verb", choices=VERBS, metavar="VERB", help="what to do, as above")
    admin.add_argument("words", nargs="*", metavar="WORD", help="what the verb needs")
    admin.add_argument("--pool", metavar="NAME", help="which pool, where a program serves several")
    admin.add_argument("--json", action="store_true", help="as JSON; events as a line of it each")
    top: argparse.ArgumentParser = commands.add_parser(
        "top", help="watch running pools", description=TOP, formatter_class=as_written
    )
    top.add_argument(
        "--interval", type=_interval, default=1.0, metavar="S", help="seconds between two looks (1)"
    )
    top.add_argument("--once", action="store_true", help="print one table, after one interval, and end")
    for each in (admin, top):
        each.add_argument("--socket", metavar="PATH", help="the program's admin socket, if it is not found")
    return {"admin": admin, "top": top}


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.1 to 3600")
    return value

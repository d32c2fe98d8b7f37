"""One of several programs that use a shared pool: calls until it is told enough, and counts what came of them."""

from __future__ import annotations

import json
import sys
import time

import trio

from trio_folk import FolkError
from trio_folk.broker import connect_pool


async def main(folder: str, name: str, seconds: float) -> None:
    from broker_kit import Broker
    from test_broker_shared import shared

    service = shared(Broker(__import__("pathlib").Path(folder)))
    outcomes = {"asked": 0, "answered": 0, "failed": 0, "wrong": 0}
    daemons: set[int] = set()
    until = time.monotonic() + seconds
    async with connect_pool(service) as pool:
        while time.monotonic() < until:
            outcomes["asked"] += 1
            number = outcomes["asked"]
            try:
                answer = await pool.execute("add", [number, 1])
                daemons.add(await pool.execute("parent", idempotent=True))
            except FolkError:
                outcomes["failed"] += 1
            else:
                outcomes["answered" if answer == number + 1 else "wrong"] += 1
    print(json.dumps({"name": name, "daemons": sorted(daemons), **outcomes}))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))

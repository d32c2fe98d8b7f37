"""One of many programs that want the same backend: a line in is a round, a line out is what became of it.

A connection that is made and then reset is no refusal: its daemon was killed. It is tried again, as any client would.
"""

from __future__ import annotations

import json
import sys

import trio

from trio_folk.broker import Service, connect_or_spawn


async def one_round(service: Service) -> dict[str, object]:
    resets = 0
    while True:
        try:
            async with await connect_or_spawn(service) as stream:
                await stream.send_all(b"hello\n")
                said = b""
                while said.count(b"\n") < 2:
                    data = await stream.receive_some()
                    if not data:
                        raise trio.BrokenResourceError("end of file")
                    said += data
            pid, echoed = said.split()
        except trio.BrokenResourceError:
            resets += 1
            continue
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}", "resets": resets}
        return {"pid": int(pid), "echoed": echoed.decode(), "resets": resets}


async def main(told: dict[str, object]) -> None:
    from trio_folk import SpawnBudget

    service = Service(**told, budget=SpawnBudget(100_000, 3600))  # type: ignore[arg-type]
    for _ in iter(sys.stdin.readline, ""):
        print(json.dumps(await one_round(service)), flush=True)


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))

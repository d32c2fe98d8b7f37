"""The program: the first matches of each file, while a line on standard error says how far the search is."""

import sys

import trio

import trio_folk

ENOUGH = 3


def show(done, total):
    print(f"\r{100 * done // total} %", end="\r", file=sys.stderr, flush=True)


async def main(text, paths):
    runtime = trio_folk.PipeRuntime.python("examples.streaming.jobs:worker")
    async with trio_folk.open_pool(runtime, slots=1) as pool:
        for path in paths:
            found = 0
            async with pool.stream("search", {"path": path, "text": text}, progress=show) as matches:
                async for match in matches:
                    print(f"{path}:{match['line']}: {match['text']}")
                    found += 1
                    if found == ENOUGH:
                        break


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])

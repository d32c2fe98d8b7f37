"""A client: ``python -m examples.shared_backend.client README.md``. Run several at once: they share two workers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from trio_folk.broker import Service, connect_pool

WORDS = Service(
    "words", [sys.executable, "-m", "examples.shared_backend.daemon"], version="1.0.0", cwd=str(Path.cwd())
)


async def most_common(paths: list[str], service: Service = WORDS) -> dict[str, str]:
    """The most common word of each file, counted by whichever worker is free."""
    found: dict[str, str] = {}
    here = os.getcwd()  # the workers' is another
    async with connect_pool(service) as pool, trio.open_nursery() as nursery:

        async def count(path: str) -> None:
            words = await pool.execute("count_words", [f"{here}/{path}"])
            found[path] = max(words, key=lambda word: words[word], default="")

        for path in paths:
            nursery.start_soon(count, path)
    return found


async def main() -> None:
    """Count the files of the command line."""
    for path, word in sorted((await most_common(sys.argv[1:] or ["README.md"])).items()):
        print(f"{path}: {word!r}")


if __name__ == "__main__":
    trio.run(main)

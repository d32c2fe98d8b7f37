"""What the workers can do. They load what is slow once, however many programs use them."""

from __future__ import annotations

import os

from trio_folk.worker import Worker

worker = Worker()


@worker.method
def count_words(path: str) -> dict[str, int]:
    """How often each word is in a file."""
    found: dict[str, int] = {}
    with open(path, encoding="utf-8") as file:
        for word in file.read().lower().split():
            found[word] = found.get(word, 0) + 1
    return found


@worker.method
def who() -> int:
    """The worker's pid."""
    return os.getpid()

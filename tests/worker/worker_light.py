"""A worker that imports nothing itself, for the tests of what that costs."""

from __future__ import annotations

import sys

from trio_folk.worker import Worker

worker = Worker()


@worker.method
def modules() -> list[str]:
    return sorted(sys.modules)


@worker.method
def fail() -> None:
    raise LookupError

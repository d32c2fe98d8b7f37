"""The worker whose methods the benchmarks call by name."""

from __future__ import annotations

from bench.jobs import echo
from trio_folk.worker import Worker

worker = Worker()
worker.method("give_back")(echo)  # every worker has an `echo` of its own; a user's method is what is measured

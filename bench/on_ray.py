"""What a pool costs on top of Ray: the same calls to bare actors and through RayRuntime, taking turns in one run.

    python bench/on_ray.py [--rounds 7] [--calls 400]

Bare is what Ray's own users write: ``ray.get(actor.method.remote(...))``, one caller for the round trip, and as many
threads as there are callers for the throughput. The verdicts are ratios: at most `OVERHEAD` times the round trip, at
least `RATE` times the calls per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
import trio

import trio_folk

OVERHEAD, RATE = 1.3, 1.0
ACTORS, AHEAD = 2, 32
CROWDS = (16, 64)
PAYLOAD = "x" * 100
WARM = 50


class Bare:
    """What Ray's users write."""

    def echo(self, value: object) -> object:
        """The value, as it came."""
        return value


def bare_round_trip(actors: list[ray.actor.ActorHandle], calls: int) -> float:
    """Microseconds of one call after another."""
    actor = actors[0]
    began = time.perf_counter()
    for _ in range(calls):
        ray.get(actor.echo.remote(PAYLOAD))
    return (time.perf_counter() - began) / calls * 1e6


def bare_rate(actors: list[ray.actor.ActorHandle], callers: int, calls: int) -> float:
    """Calls per second from so many threads."""

    def call(number: int) -> None:
        actor = actors[number % len(actors)]
        for _ in range(calls // callers):
            ray.get(actor.echo.remote(PAYLOAD))

    with ThreadPoolExecutor(callers) as threads:
        began = time.perf_counter()
        list(threads.map(call, range(callers)))
        return calls / (time.perf_counter() - began)


async def pool_round_trip(pool: trio_folk.WorkerPool, calls: int) -> float:
    """The same through a pool."""
    began = time.perf_counter()
    for _ in range(calls):
        await pool.execute("echo", PAYLOAD)
    return (time.perf_counter() - began) / calls * 1e6


async def pool_rate(pool: trio_folk.WorkerPool, callers: int, calls: int) -> float:
    """The same through a pool, from tasks."""

    async def call() -> None:
        for _ in range(calls // callers):
            await pool.execute("echo", PAYLOAD)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(call)
    return calls / (time.perf_counter() - began)


async def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Each of them, in turn, `rounds` times."""
    found: dict[str, list[float]] = defaultdict(list)
    config = trio_folk.PoolConfig(slots=ACTORS, prefetch=AHEAD)
    async with trio_folk.open_pool(trio_folk.RayRuntime(cpus=0), config=config) as pool:
        await pool.wait_ready(ACTORS)
        actors = [ray.remote(num_cpus=0)(Bare).remote() for _ in range(ACTORS)]
        bare_rate(actors, CROWDS[0], WARM * CROWDS[0])
        await pool_rate(pool, CROWDS[0], WARM * CROWDS[0])
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            found["bare us"].append(bare_round_trip(actors, calls))
            found["pool us"].append(await pool_round_trip(pool, calls))
            for callers in CROWDS:
                found[f"bare, {callers} callers"].append(bare_rate(actors, callers, calls * 4))
                found[f"pool, {callers} callers"].append(await pool_rate(pool, callers, calls * 4))
    return found


def main() -> int:
    """Measure, print a table, and fail where a number is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    found = trio.run(measure, options.rounds, options.calls)
    for name, values in found.items():
        print(
            f"{name:>16}  median {statistics.median(values):8.0f}   {min(values):8.0f} to {max(values):8.0f}"
        )
    overhead = statistics.median(found["pool us"]) / statistics.median(found["bare us"])
    rates = {
        callers: statistics.median(found[f"pool, {callers} callers"])
        / statistics.median(found[f"bare, {callers} callers"])
        for callers in CROWDS
    }
    print(f"a call costs {overhead:.2f} times a bare one (at most {OVERHEAD})")
    for callers, rate in rates.items():
        print(f"{callers} callers get {rate:.2f} times the calls per second (at least {RATE})")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return int(overhead > OVERHEAD or min(rates.values()) < RATE)


if __name__ == "__main__":
    sys.exit(main())

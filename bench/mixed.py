"""mixed: short calls beside a few long ones. A pool that queues them behind each other shows it in the slowest.

One call in a hundred sleeps 200 ms, the others take 50 us; 64 callers, 4 slots. The same plan is run without the long
ones, whose callers then sleep themselves. In the second form all callers call at once every 0.3 s.
"""

from __future__ import annotations

import time

import trio

from bench import mixed_plan
from bench.boot import all_answer
from bench.interface import Call, Peer, Values
from bench.jobs import LONG, long_call, short_call
from bench.mixed_plan import SLOTS, Plan, Turn
from bench.mixed_seen import Seen, p99, passed_over

TITLE = (
    "1 % of calls sleep 200 ms, 99 % take 50 us; 64 callers, 4 slots; p99 of the short ones in ms, with the long ones \
and without; calls that waited more than 10 ms beside a worker that ran nothing"
)
COLUMNS = (
    *("steady", "without", "ratio", "passed over"),
    *("bursts", "bursts without", "ratio of bursts", "passed over in bursts"),
)
DURATION, SHORT_DURATION = 4.0, 0.3  # seconds
BURSTS, SHORT_BURSTS = 6, 1


def measure(peer: Peer, short: bool) -> Values:
    """One pool for all: each form without the long calls, then with them."""
    return trio.run(_mixed, peer, short)


async def _mixed(peer: Peer, short: bool) -> Values:
    steady = mixed_plan.steady(SHORT_DURATION if short else DURATION)
    bursts = mixed_plan.bursts(SHORT_BURSTS if short else BURSTS)
    async with peer.open(SLOTS) as call:
        await all_answer(call, SLOTS)
        await _run(call, mixed_plan.bursts(1), long_ones=False)  # not counted
        found = [
            await _run(call, plan, long_ones=long_ones)
            for plan in (steady, bursts)
            for long_ones in (False, True)
        ]
    without, with_, bursts_without, bursts_with = found
    return {
        "steady": p99(with_),
        "without": p99(without),
        "ratio": p99(with_) / p99(without),
        "passed over": passed_over(with_),
        "bursts": p99(bursts_with),
        "bursts without": p99(bursts_without),
        "ratio of bursts": p99(bursts_with) / p99(bursts_without),
        "passed over in bursts": passed_over(bursts_with),
    }


async def _run(call: Call, plan: Plan, *, long_ones: bool) -> list[Seen]:
    """Let every caller take its turns; a caller whose last call came late asks at once, as a user would."""
    seen: list[Seen] = []
    start = trio.current_time()

    async def caller(turns: list[Turn]) -> None:
        for turn in turns:
            await trio.sleep_until(start + turn.at)
            if turn.long and not long_ones:
                await trio.sleep(LONG)
                continue
            asked = time.perf_counter_ns()
            ran = await call(long_call if turn.long else short_call)
            seen.append(Seen(turn.long, asked, time.perf_counter_ns(), *ran))

    async with trio.open_nursery() as nursery:
        for turns in plan:
            nursery.start_soon(caller, [*turns])
    return seen

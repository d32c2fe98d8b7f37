"""Every scenario at every point: ``python tests/explore/full.py [--runtime=task|fork|pipe] [--seeds=10] [name ...]``.

Prints what was done and the number of points. Fails if anything was found; what was not reached is named.
"""

from __future__ import annotations

import argparse
import sys

from scenarios import RUNTIMES, scenarios

from trio_folk.testing import CancellationLeak, explore_cancellation


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", choices=RUNTIMES, default="task")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args()
    found = scenarios(chosen.runtime)
    points = runs = findings = unreached = 0
    for name in chosen.names or found:
        scenario, options = found[name], found[name].options(chosen.runtime)
        try:
            done = explore_cancellation(
                scenario.fn, seeds=range(chosen.seeds), stop_at_first=False, **options
            )
        except CancellationLeak as leak:
            print(leak)
            done = leak.exploration
        print(f"{name:22} {done!r}", flush=True)
        for line in (*done.unreached, *done.warnings):
            print(f"    {line}")
        points, runs = points + done.points, runs + done.runs
        findings, unreached = findings + len(done.findings), unreached + len(done.unreached)
    print(
        f"{chosen.runtime}: {points} points, {unreached} of them unreached, in {runs} runs; {findings} findings"
    )
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())

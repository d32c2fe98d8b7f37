"""Many processes race for one lock file while another moves it away and back, deletes it, and makes it anew.

``python tests/spawn/spawn_lock_race.py PROCESSES SECONDS`` from the repository's root prints what happened, as JSON.

Each holder notes for how long it was one beyond doubt: from the return of its first successful ``verify`` to the call
of its last. All processes read one clock. Two such spans that overlap would be two verified holders at one instant.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from trio_folk._errors import SpawnLockError
from trio_folk._spawn.lock import acquire_spawn_lock


def hold(path: str, until: float) -> dict[str, object]:
    """Take the lock again and again, verify it many times, and note when it was ours."""
    chance = random.Random(os.getpid())
    counts: Counter[str] = Counter()
    spans = []
    while time.monotonic() < until:
        try:
            lock = acquire_spawn_lock(path)
        except SpawnLockError as refusal:
            counts[type(refusal).__name__] += 1
            time.sleep(chance.uniform(0, 0.002))
            continue
        counts["acquired"] += 1
        begin, end, lost = None, None, False
        with lock:
            for _ in range(chance.randint(2, 20)):
                before = time.monotonic_ns()
                try:
                    lock.verify()
                except SpawnLockError as error:
                    counts[f"verify {type(error).__name__}"] += 1
                    lost = True
                else:
                    counts["verified"] += 1
                    counts["verified after it was lost"] += lost
                    begin, end = begin or time.monotonic_ns(), before
                time.sleep(chance.uniform(0, 0.0005))
        if begin is not None and end is not None and end > begin:
            spans.append((begin, end))
    return {"counts": counts, "spans": spans}


def vandalise(path: str, until: float) -> dict[str, object]:
    """Move the file away and back, delete it, make it anew, put another in its place."""
    chance = random.Random(os.getpid())
    counts: Counter[str] = Counter()
    stashes = [f"{path}.{number}" for number in range(3)]
    while time.monotonic() < until:
        deed = chance.choice(["away", "away", "back", "back", "unlink", "create", "replace"])
        stash = chance.choice(stashes)
        try:
            if deed == "away":
                os.rename(path, stash)
            elif deed == "back":
                os.rename(stash, path)
            elif deed == "unlink":
                os.unlink(path)
            elif deed == "create":
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            else:
                os.close(os.open(f"{path}.new", os.O_CREAT | os.O_WRONLY, 0o600))
                os.rename(f"{path}.new", path)
        except OSError:
            counts["in vain"] += 1
        else:
            counts[deed] += 1
        time.sleep(chance.uniform(0, 0.002))
    return {"counts": counts, "spans": []}


def start(role, path: str, until: float, out: Path) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        out.write_text(json.dumps(role(path, until)))
        status = 0
    finally:
        os._exit(status)


def overlaps(spans: list[tuple[int, int, int]]) -> int:
    """How many spans begin before one of another process has ended."""
    found, latest, whose = 0, -1, -1
    for begin, end, number in sorted(spans):
        found += begin < latest and number != whose
        if end > latest:
            latest, whose = end, number
    return found


def race(processes: int, seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:  # made with mode 0700
        path = str(Path(folder, "backend.spawn.lock"))
        until = time.monotonic() + seconds
        outs = [Path(folder, f"out.{number}") for number in range(processes + 1)]
        pids = [
            start(vandalise if number == processes else hold, path, until, out)
            for number, out in enumerate(outs)
        ]
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
        told = [json.loads(out.read_text()) for out in outs if out.exists()]
    counts: Counter[str] = Counter()
    for each in told[:-1]:
        counts.update(each["counts"])
    spans = [(begin, end, number) for number, each in enumerate(told) for begin, end in each["spans"]]
    return {
        "overlaps": overlaps(spans),
        "failed": failed,
        "spans": len(spans),
        "held_ms": sum(end - begin for begin, end, _ in spans) / 1e6,
        "holders": counts,
        "vandal": told[-1]["counts"] if told else {},
    }


if __name__ == "__main__":
    print(json.dumps(race(int(sys.argv[1]), float(sys.argv[2])), indent=1))

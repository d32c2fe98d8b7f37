"""Many programs, one daemon, killed at random: exactly one at a time, everybody is served, nobody is refused.

The full size is 64 programs and 100 rounds: BROKER_RACE=64x100.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from broker_kit import ROOT, Broker

from trio_folk.broker import Service
from trio_folk.broker._record import read_record

PROGRAM = Path(__file__).with_name("racing_program.py")
PROGRAMS, ROUNDS = (int(number) for number in os.environ.get("BROKER_RACE", "8x5").split("x"))


@contextmanager
def programs(service: Service, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many programs that wait for a line."""
    told = {
        "name": service.name,
        "program": list(service.program),
        "directory": service.directory,
        "env": dict(service.env),
        "idle_timeout": service.idle_timeout,
    }
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, PROGRAM, json.dumps(told)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
            )
            for _ in range(count)
        ]
        try:
            yield started
        finally:
            for each in started:
                each.kill()


def kill_daemon(service: Service) -> bool:
    """SIGKILL it, if it is recorded and lives."""
    record = read_record(service.place.record)
    if record is None or record.pid is None or not record.lives:
        return False
    with suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGKILL)
    return True


def test_one_daemon_at_a_time_however_many_ask_and_whenever_it_is_killed(broker: Broker) -> None:
    """Programs that connect at once, while the daemon is killed at random before or amid their rounds."""
    service = broker.service(idle_timeout=60)
    chance = random.Random()
    killed, errors, served = 0, [], 0
    with programs(service, PROGRAMS) as started:
        for _ in range(ROUNDS):
            if chance.random() < 0.5:
                killed += kill_daemon(service)
            for each in started:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.3)
                killed += kill_daemon(service)
            answers = [json.loads(each.stdout.readline()) for each in started if each.stdout]
            errors += [answer["error"] for answer in answers if "error" in answer]
            served += sum(answer.get("echoed") == "hello" for answer in answers)
        for each in started:
            assert each.stdin is not None
            each.stdin.close()
            each.wait()
    print(f"{served} served, {killed} killed, {len(broker.births)} born")
    assert errors == []
    assert served == PROGRAMS * ROUNDS
    assert "two" not in broker.notes
    assert len(set(broker.births)) == len(broker.births)
    left = {name for name in os.listdir(broker.folder) if not name.startswith((".", "alive", "counted"))}
    assert left == {"echo.sock", "echo.ctl", "echo.json", "echo.lock", "echo.log"}

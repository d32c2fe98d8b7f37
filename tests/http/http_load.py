"""Load: a site that is reloaded and whose workers are killed while it is asked; and bodies far larger than any memory.

``nox -s http`` runs this for a minute, with wrk and a gigabyte; the tests for seconds, with a client of their own.

    python tests/http/http_load.py [--seconds 60] [--megabytes 1024]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h11
import trio
from http_client import ask, connect, converse, serving

import trio_folk
from trio_folk.http import HttpConfig
from trio_folk.http._serving import Site

PROMISED = {200, 502, 503, 504}
PIECE = b"z" * 65536
SLOW = "/sleeps/0.005"  # seconds: a worker that is killed was mostly serving somebody
CONNECTIONS = 16

WRK = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) statuses = {} end
function response(status) statuses[status] = (statuses[status] or 0) + 1 end
function done(summary, latency)
  local all = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do all[status] = (all[status] or 0) + count end
  end
  local parts = {}
  for status, count in pairs(all) do table.insert(parts, string.format('"%d": %d', status, count)) end
  local errors = summary.errors
  io.write(string.format('JSON {"statuses": {%s}, "connect": %d, "read": %d, "write": %d, "timeout": %d, ' ..
    '"p50_ms": %.2f, "p99_ms": %.2f}\\n', table.concat(parts, ", "), errors.connect, errors.read, errors.write,
    errors.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


async def storm(
    seconds: float, *, reload_every: float, kill_every: float, wrk: bool = False
) -> dict[str, Any]:
    """Ask a site all the time while that happens to it; what came of it."""
    config = trio_folk.PoolConfig(
        slots=2, min_uptime=0, on_crash_loop="degrade", queue_timeout=10, exec_timeout=30
    )
    done: dict[str, Any] = {"statuses": Counter(), "errors": 0, "kills": 0, "reloads": 0}
    async with serving("http_apps:wsgi", config=config, slots=2, bound=seconds + 60) as site:
        async with trio.open_nursery() as trouble:
            trouble.start_soon(_kill, site, kill_every, done)
            trouble.start_soon(_reload, site, reload_every, done)
            if wrk:
                done.update(await _wrk(site, seconds))
            else:
                await _ask_all(site, seconds, done)
            trouble.cancel_scope.cancel()
    return done


async def _ask_all(site: Site, seconds: float, done: dict[str, Any]) -> None:
    until = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(_ask_on, site, until, done)


async def _ask_on(site: Site, until: float, done: dict[str, Any]) -> None:
    async with await connect(site) as stream:
        http = h11.Connection(h11.CLIENT)
        while trio.current_time() < until:
            answer = await converse(stream, SLOW, connection=http)
            done["statuses"][answer.status] += 1
            if not answer.whole:
                done["errors"] += 1
                return
            http.start_next_cycle()


async def _kill(site: Site, every: float, done: dict[str, Any]) -> None:
    while True:
        await trio.sleep(every)
        pids = [slot.pid for slot in site.pool.statistics().slots if slot.pid is not None]
        if pids:
            os.kill(random.choice(pids), signal.SIGKILL)
            done["kills"] += 1


async def _reload(site: Site, every: float, done: dict[str, Any]) -> None:
    while True:
        await trio.sleep(every)
        try:
            await site.pool.reload()
            done["reloads"] += 1
        except trio_folk.ReloadFailed:
            done["reloads_failed"] = (
                done.get("reloads_failed", 0) + 1
            )  # its new worker was the one that was killed


async def _wrk(site: Site, seconds: float) -> dict[str, Any]:
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is missing: install the Debian package wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK)
        script.flush()
        options = ("-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--timeout", "30s", "-s", script.name)
        finished = await trio.run_process(
            [program, *options, f"http://{site.addresses[0]}{SLOW}"], capture_stdout=True, check=True
        )
    line = next(each for each in finished.stdout.decode().splitlines() if each.startswith("JSON "))
    told = json.loads(line[5:])
    statuses = Counter({int(status): count for status, count in told.pop("statuses").items()})
    errors = sum(told.pop(kind) for kind in ("connect", "read", "write", "timeout"))
    return {"statuses": statuses, "errors": errors, **told}


async def transfer(target: str, megabytes: int) -> dict[str, Any]:
    """So much up and down; by how many KiB this process and the worker have grown meanwhile, after a first MB each."""
    limits = HttpConfig(max_body=(megabytes + 1) << 20)
    config = trio_folk.PoolConfig(slots=1, exec_timeout=600)
    async with serving(target, config=config, http=limits, bound=600) as site:

        async def both(count: int) -> None:
            up = await ask(site, "/length", method="POST", body=_pieces(count), bound=600)
            assert up.body == b"%d" % (count * len(PIECE)), up
            down = await ask(site, f"/down/{count}", keep=False, bound=600)
            assert (down.size, down.whole) == (count * len(PIECE), True), down

        await both(64)
        worker, own = int((await ask(site, "/peak")).body), _own_peak()
        began = trio.current_time()
        await both(megabytes * 16)
        seconds = trio.current_time() - began
        grown = int((await ask(site, "/peak")).body) - worker
        return {
            "target": target,
            "megabytes_each_way": megabytes,
            "seconds": round(seconds, 2),
            "worker_grew_kib": grown,
            "server_grew_kib": _own_peak() - own,
        }


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


def _own_peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):  # proc_pid_status(5)
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell")


def main() -> None:
    parser = argparse.ArgumentParser(description="The load tests of the HTTP front.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    stormy = trio.run(lambda: storm(options.seconds, reload_every=5, kill_every=1, wrk=True))
    print(json.dumps(stormy), flush=True)
    fine = stormy["errors"] == 0 and set(stormy["statuses"]) <= PROMISED
    for target in ("http_apps:wsgi", "http_apps:asgi"):
        told = trio.run(transfer, target, options.megabytes)
        print(json.dumps(told), flush=True)
        fine = fine and max(told["worker_grew_kib"], told["server_grew_kib"]) < 32 << 10
    if not fine:
        raise SystemExit("not as promised: see above")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        raise SystemExit(f"wrk failed: {failed}") from failed

"""A Ray of one's own: started with the first pool, shared, and ended with the last; and a Ray that lets nobody in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from ray_cluster import Cluster

from trio_folk import BootFailed, PoolConfig, RayRuntime, SpawnBudget, open_pool

BOUND = 110.0
"""Seconds for a program that starts a Ray and ends it, ten times what it takes."""
ONCE = PoolConfig(slots=1, budget=SpawnBudget(1, 60))
ALONE = Path(__file__).with_name("ray_alone.py")


def run(*command: str, **env: str) -> tuple[str, str]:
    """Standard output and error of a program, within the bound, after which all of it is killed."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**surroundings, "RAY_USAGE_STATS_ENABLED": "0", **env},
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=BOUND)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.timeout(BOUND + 10)
def test_pools_share_a_ray_that_ends_with_the_last(tmp_path: Path) -> None:
    """No process of it is left, no thread of ours, no handler is taken, and nothing is said."""
    out, err = run(str(ALONE), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=os.urandom(16).hex())
    assert err == ""
    assert json.loads(out) == {
        "workers": 2,
        "answers": True,
        "raylets": 1,
        "left": [],
        "threads": [],
        "handlers kept": True,
    }


@pytest.mark.timeout(BOUND + 10)
def test_a_cluster_that_wants_a_token_says_how_to_give_it(cluster: Cluster) -> None:
    """The error names the variable, and comes out of the pool."""
    program = (
        "import trio, trio_folk\n"
        "async def main():\n"
        "    config = trio_folk.PoolConfig(slots=1, boot_timeout=100, budget=trio_folk.SpawnBudget(1, 100))\n"
        f"    runtime = trio_folk.RayRuntime(address={cluster.address!r})\n"
        "    async with trio_folk.open_pool(runtime, config=config):\n"
        "        pass\n"
        "try:\n"
        "    trio.run(main)\n"
        "except trio_folk.BootFailed as error:\n"
        "    print(error)\n"
    )
    out, _ = run("-c", program, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="another" * 8)
    assert "RAY_AUTH_TOKEN" in out
    assert cluster.address in out


async def test_one_program_uses_one_ray(cluster: Cluster) -> None:
    """A second address at the same time is refused with both in the sentence."""
    with trio.fail_after(BOUND):
        async with open_pool(RayRuntime(cpus=0, address=cluster.address), slots=1):
            with pytest.raises(BootFailed, match="can use no other") as caught:
                async with open_pool(RayRuntime(cpus=0, address="192.0.2.1:6379"), config=ONCE):
                    pytest.fail("it was connected to both")
    assert cluster.address in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"address": "ray://head:10001"}, "client"),
        ({"code": "package"}, "list"),
        ({"cpus": -1}, "cpus"),
        ({"placement": "anywhere"}, "placement"),
        ({"heartbeat": 0}, "heartbeat"),
        ({"ready_timeout": -1}, "ready_timeout"),
        ({"transfer": "never"}, "transfer"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(settings: dict[str, object], sentence: str) -> None:
    """By name, before there is any Ray."""
    with pytest.raises((ValueError, TypeError), match=sentence):
        RayRuntime(**settings)  # type: ignore[arg-type]

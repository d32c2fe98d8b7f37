"""A short sample of `nox -s http`: workers are killed and replaced under load, and large bodies pass through."""

from __future__ import annotations

import pytest
from http_load import PROMISED, storm, transfer


async def test_no_connection_breaks_while_workers_die_and_are_replaced() -> None:
    """Every answer is whole and has one of the promised statuses; most are the application's."""
    done = await storm(3, reload_every=1, kill_every=0.4)
    assert done["errors"] == 0
    assert set(done["statuses"]) <= PROMISED
    assert done["statuses"][200] > done["statuses"].total() / 2
    assert done["kills"] > 0
    assert done["statuses"][502] <= done["kills"]


@pytest.mark.parametrize("target", ["http_apps:wsgi", "http_apps:asgi"])
async def test_large_bodies_pass_in_flat_memory(target: str) -> None:
    """64 MiB each way, and neither process has grown by half of that."""
    told = await transfer(target, 64)
    assert told["worker_grew_kib"] < 32 << 10
    assert told["server_grew_kib"] < 32 << 10

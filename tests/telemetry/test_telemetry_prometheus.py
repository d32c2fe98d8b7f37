"""Prometheus' metrics: Folk's names, values that are true, and labels that stay few."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import prometheus_client
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import ApplicationError, FolkError, PoolConfig, TaskRuntime, open_pool
from trio_folk.telemetry import Prometheus
from trio_folk.telemetry._names import OTHER, Names, slot_of
from trio_folk.telemetry._population import Population
from trio_folk.testing import Fault, FaultyRuntime, Script
from trio_folk.worker import Worker


def make() -> Worker:
    worker = Worker()

    @worker.method
    async def sleep(seconds: float) -> None:
        await trio.sleep(seconds)

    @worker.method
    async def fail() -> None:
        raise ValueError("it broke")

    return worker


def value(metrics: Prometheus, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_calls_are_counted_by_how_they_end(autojump_clock: trio.testing.MockClock) -> None:
    """And how long they waited and ran, in seconds of trio's clock."""
    metrics = Prometheus()
    async with open_pool(TaskRuntime(make()), slots=1, name="p", instruments=[metrics]) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.execute, "sleep", 2)
            await wait_all_tasks_blocked()
            assert value(metrics, "folk_request_queue_size", pool="p") == 2
            assert (value(metrics, "folk_worker_inflight_seconds", pool="p", worker_id="0") or 0) > 0
        with pytest.raises(ApplicationError):
            await pool.execute("fail")
        with trio.move_on_after(1):
            await pool.execute("sleep", 60)
    total = "folk_request_dispatch_total"
    assert value(metrics, total, pool="p", method="sleep", outcome="succeeded") == 3
    assert value(metrics, total, pool="p", method="fail", outcome="failed") == 1
    assert value(metrics, total, pool="p", method="sleep", outcome="cancelled") == 1
    assert value(metrics, "folk_request_dispatch_duration_seconds_sum", pool="p", method="sleep") == 3 * 2 + 1
    assert value(metrics, "folk_request_queue_duration_seconds_sum", pool="p") == 0 + 2 + 4
    assert value(metrics, "folk_request_queue_size", pool="p") == 0
    assert value(metrics, "folk_worker_inflight_seconds", pool="p", worker_id="0") == 0
    assert value(metrics, "folk_worker_requests_total", pool="p", worker_id="0") == 5


async def test_a_refused_call_waits_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    """The queue's size goes back to zero whatever became of those in it."""
    metrics = Prometheus()
    async with open_pool(TaskRuntime(make()), slots=1, instruments=[metrics]) as pool:
        async with pool.lease():
            with trio.move_on_after(1):
                await pool.execute("sleep", 1)
            with pytest.raises(trio.WouldBlock):
                await pool.execute("sleep", 1, queue_timeout=0)
    assert value(metrics, "folk_request_queue_size", pool="pool") == 0
    assert value(metrics, "folk_request_dispatch_total", pool="pool", method="sleep", outcome="refused") == 1


async def test_workers_are_counted_by_state_and_by_why_they_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A death and a recycling are two causes, a boot that failed is none; in the end there are no workers."""
    metrics = Prometheus()
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()}), Script(boot="dies"), Script()])
    config = PoolConfig(slots=1, min_uptime=0)
    async with open_pool(runtime, config=config, instruments=[metrics]) as pool:
        assert value(metrics, "folk_workers_total", pool="pool", state="ready") == 1
        with pytest.raises(FolkError):
            await pool.execute("echo")
        await pool.execute("echo")
        await pool.reload()
    for state in ("spawning", "ready", "retiring", "condemned"):
        assert not value(metrics, "folk_workers_total", pool="pool", state=state)
    ended = "folk_worker_restarts_total"
    assert value(metrics, ended, pool="pool", cause="death") == 1
    assert value(metrics, ended, pool="pool", cause="planned") == 2  # by the reload, and at the end
    assert value(metrics, "folk_reloads_total", pool="pool", outcome="succeeded") == 1


async def test_a_call_that_moves_counts_once(autojump_clock: trio.testing.MockClock) -> None:
    """It ran on two workers, and is one call."""
    metrics = Prometheus()
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()})])
    async with open_pool(runtime, config=PoolConfig(slots=1, min_uptime=0), instruments=[metrics]) as pool:
        await pool.execute("echo", idempotent=True)
        assert repr(metrics) == "<Prometheus: 0 calls on workers>"
    assert value(metrics, "folk_worker_requests_total", pool="pool", worker_id="0") == 2
    assert value(metrics, "folk_request_dispatch_total", pool="pool", method="echo", outcome="succeeded") == 1


async def test_names_that_callers_make_up_do_not_fill_the_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A time series for each would be kept for good."""
    metrics = Prometheus()
    async with open_pool(TaskRuntime(make()), slots=1, instruments=[metrics]) as pool:
        for number in range(300):
            with pytest.raises(ApplicationError):
                await pool.execute(f"made up {number}")
        page = metrics.page()[1].decode()
    assert f'method="{OTHER}"' in page
    assert page.count("folk_request_dispatch_total{") <= 201


async def test_the_page_can_be_made_in_another_thread(tmp_path: Path) -> None:
    """Some serve the registry with prometheus_client's own server."""
    metrics = Prometheus()
    pages: list[bytes] = []
    async with open_pool(TaskRuntime(make()), slots=1, instruments=[metrics]) as pool:
        await pool.execute("echo")
        thread = threading.Thread(target=lambda: pages.append(metrics.page()[1]))
        thread.start()
        await trio.to_thread.run_sync(thread.join, 10)
    assert b'folk_worker_requests_total{pool="pool",worker_id="0"} 1.0' in pages[0]


def test_metrics_of_one_name_are_refused_aloud() -> None:
    """Folk's second registration returned metrics that nobody ever saw."""
    registry = prometheus_client.CollectorRegistry()
    assert Prometheus(registry).registry is registry
    with pytest.raises(ValueError, match="folk_"):
        Prometheus(registry)


def test_without_the_package_prometheus_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(FolkError, match=r"prometheus-client.*\n.*trio-folk\[metrics\]"):
        Prometheus()


def test_names_are_bounded_and_slots_found() -> None:
    """In number and length; a pool's name may have any letters."""
    names = Names(most=2)
    assert [names.bounded(each) for each in ("a", "b", "c", "a", "", "x" * 300)] == [
        *("a", "b", OTHER, "a", OTHER, OTHER)
    ]
    assert [slot_of(each) for each in ("thumbs/3.12", "a/b.c/0.1", "")] == ["3", "0", ""]


def test_a_worker_nobody_saw_born_is_not_counted() -> None:
    """An instrument may come when they are there already."""
    counted: list[tuple[str, str, int]] = []
    population = Population(lambda *change: counted.append(change))
    assert population.move("p/0.1", "retiring") is None
    assert population.move("p/0.1", None) is None
    population.bear("p/0.2")
    assert population.move("p/0.2", "ready") == "spawning"
    assert population.move("p/0.2", None) == "ready"
    assert population.move("p/0.2", None) is None
    assert counted == [
        *(("p", "spawning", 1), ("p", "spawning", -1)),
        *(("p", "ready", 1), ("p", "ready", -1)),
    ]

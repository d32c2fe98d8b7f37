"""OpenTelemetry's metrics: the names and attributes of its conventions, and values that are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from trio_folk import ApplicationError, PoolConfig, WorkerDied, open_pool
from trio_folk.telemetry import OpenTelemetry
from trio_folk.testing import Fault, FaultyRuntime, Script


@attrs.frozen
class Meters:
    """An instrument with providers of its own, and what they have recorded."""

    instrument: OpenTelemetry
    reader: InMemoryMetricReader
    spans: InMemorySpanExporter

    def points(self, name: str) -> dict[frozenset[Any], Any]:
        """By attributes."""
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return {
            frozenset((point.attributes or {}).items()): point
            for metric in metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def meters() -> Iterator[Meters]:
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    instrument = OpenTelemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    yield Meters(instrument, reader, spans)
    meter_provider.shutdown()
    tracer_provider.shutdown()


async def test_the_duration_of_calls_is_a_histogram(
    meters: Meters, autojump_clock: trio.testing.MockClock
) -> None:
    """From the caller's side, wait and all, by method, and by what it failed of."""
    runtime = FaultyRuntime([Script(at_call={2: Fault.fails()})])
    async with open_pool(runtime, slots=1, name="p", instruments=[meters.instrument]) as pool:
        await pool.execute("sleep", 2)
        with pytest.raises(ApplicationError):
            await pool.execute("sleep", 3)
        assert repr(meters.instrument) == "<OpenTelemetry: 0 calls>"
    points = meters.points("rpc.client.call.duration")
    common = {("rpc.system.name", "folk"), ("rpc.method", "sleep")}
    assert points.keys() == {
        frozenset(common),
        frozenset({*common, ("error.type", "ApplicationError")}),
    }
    well = points[frozenset(common)]
    assert (well.count, well.sum) == (1, 2)
    assert 2.5 in well.explicit_bounds
    (waits,) = meters.points("folk.queue.duration").values()
    assert (waits.count, waits.sum) == (2, 0)


async def test_workers_are_counted_by_state(meters: Meters, autojump_clock: trio.testing.MockClock) -> None:
    """While they are there; after the pool every count is zero again."""
    runtime = FaultyRuntime([Script(), Script(boot="dies"), Script()])
    async with open_pool(runtime, slots=2, name="p", instruments=[meters.instrument]) as pool:
        await pool.wait_ready(2)
        await pool.reload()
        ready = frozenset({("folk.pool", "p"), ("folk.worker.state", "ready")})
        assert meters.points("folk.workers")[ready].value == 2
    assert {point.value for point in meters.points("folk.workers").values()} == {0}


async def test_a_call_that_moved_says_so_on_its_span(
    meters: Meters, autojump_clock: trio.testing.MockClock
) -> None:
    """Its first worker died; the span has the second, and when that got it."""
    runtime = FaultyRuntime([Script(at_call={1: Fault.dies()}), Script(at_call={2: Fault.dies()})])
    config = PoolConfig(slots=1, min_uptime=0)
    async with open_pool(runtime, config=config, instruments=[meters.instrument]) as pool:
        await pool.execute("echo", idempotent=True)
        with pytest.raises(WorkerDied):
            await pool.execute("echo")
    moved, died = (span for span in meters.spans.get_finished_spans() if span.name == "echo")
    (event,) = moved.events
    assert (event.name, dict(event.attributes or {})) == (
        "given to another worker",
        {"folk.worker": "pool/0.2"},
    )
    assert (moved.attributes or {})["folk.worker"] == "pool/0.2"
    assert (died.attributes or {})["folk.outcome"] == "died"

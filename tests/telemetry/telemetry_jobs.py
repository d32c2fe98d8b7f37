"""A worker whose code makes spans of its own, and tells what it has recorded."""

from __future__ import annotations

from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from telemetry_functions import hexes, tracer

from trio_folk.worker import Worker

worker = Worker()
recorded = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(recorded))
trace.set_tracer_provider(provider)


@worker.method
def spans() -> list[dict[str, Any]]:
    """Everything recorded so far."""
    return [hexes(span) for span in recorded.get_finished_spans()]


@worker.method
def work(name: str) -> str:
    """Make a span of one's own."""
    with tracer.start_as_current_span(f"own {name}"):
        return str(baggage.get_baggage("customer"))


@worker.method
def rows(number: int) -> Any:
    """The same, in a generator."""
    for each in range(number):
        with tracer.start_as_current_span("own row"):
            pass
        yield each

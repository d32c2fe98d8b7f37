"""The benchmarks' worker, with a tracer provider of its own: what it records is batched, and sent nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bench.folk_worker import worker

__all__ = ["to_nowhere", "worker"]


class Nowhere(SpanExporter):
    """As quick as an exporter can be."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def to_nowhere() -> TracerProvider:
    """A provider that does all the work but the sending."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


trace.set_tracer_provider(to_nowhere())

"""A worker whose span processor raises wherever it can."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from trio_folk.worker import Worker


class Broken(SpanProcessor):
    """At the beginning of a span, at its end, and when it is to flush."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.name == "beginning":
            raise ZeroDivisionError("at the beginning")

    def on_end(self, span: ReadableSpan) -> None:
        raise ZeroDivisionError("at the end")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        raise ZeroDivisionError("at the flush")


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(Broken())
trace.set_tracer_provider(provider)
worker = Worker()


@worker.method
def beginning() -> str:
    """Its span does not begin."""
    return "began"


@worker.method
def end() -> str:
    """Its span does not end."""
    return "ended"

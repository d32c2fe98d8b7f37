"""Functions for run_sync and map; what the tests may import without a provider of this process being set."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

tracer = trace.get_tracer("jobs")


def hexes(span: Any) -> dict[str, Any]:
    """What a test wants to know of a span."""
    return {
        "name": span.name,
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "kind": span.kind.name,
    }


def double(number: int) -> int:
    """With a span of one's own."""
    with tracer.start_as_current_span("own double"):
        return 2 * number

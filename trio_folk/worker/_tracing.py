"""The worker's end of a trace: a call goes on in its caller's trace, and what was recorded leaves before the worker.

What a worker records is sent in batches, from a thread, some seconds later. A worker that is recycled has less time
than that, so its spans are sent before it leaves. Imported with the first call that comes with a ``traceparent``, or
when a worker leaves whose code has used OpenTelemetry: to all others it costs nothing.

Invariants
    1. Nothing that a tracer, a processor or an exporter raises reaches a call or the loop.
    2. What is current when a call begins is current again when it has ended.

Knows OpenTelemetry's interface, and cannot be imported without it. Does not know who exports, or where to.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import logging
import sys

from opentelemetry import context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

__all__ = ["enter", "flush"]

FLUSH = 5.0
"""Seconds for what was recorded to leave; the pool waits for a worker's end as long by default (`terminate_grace`)."""

_METHOD = "rpc.method"
_TRACE, _BAGGAGE = TraceContextTextMapPropagator(), W3CBaggagePropagator()
_log = logging.getLogger("trio_folk.worker")


def enter(values: Mapping[str, Any]) -> Callable[[], None] | None:
    """Go on in the trace that these values name, with a span for the call; returns what leaves it."""
    try:
        carrier = {name: value for name, value in values.items() if type(value) is str}
        parent = _TRACE.extract(carrier)
        if "baggage" in carrier:
            parent = _BAGGAGE.extract(carrier, parent)
        name = carrier.get(_METHOD, "call")
        attributes = {"rpc.system.name": "folk", _METHOD: name}
        tracer = trace.get_tracer("trio_folk.worker")
        span = tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        token = context.attach(trace.set_span_in_context(span, parent))
    except Exception:
        _log.exception("the call is not traced")
        return None

    def leave() -> None:
        context.detach(token)
        try:
            span.end()
        except Exception:
            _log.exception("the span of the call is lost")

    return leave


def flush() -> None:
    """Send what was recorded and not yet sent. At most `FLUSH` seconds for each provider that heeds that."""
    for provider in _providers():
        force_flush = getattr(provider, "force_flush", None)  # the SDK's; the API alone has nothing to send
        if force_flush is None:
            continue
        try:
            force_flush(timeout_millis=int(FLUSH * 1000))
        except Exception:
            _log.exception("what was recorded could not be sent before the worker ends")


def _providers() -> Iterator[object]:
    yield trace.get_tracer_provider()
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is not None:
        yield metrics.get_meter_provider()

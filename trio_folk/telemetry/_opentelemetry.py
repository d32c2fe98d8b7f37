"""OpenTelemetry: a span for each call, which goes on in the worker, and metrics by the conventions for RPC.

A trace that ends where a call is queued explains nothing, and the worker that ran it is another process. So the span
begins in the caller's context, and what names it travels with the call as W3C's text; `worker._tracing` goes on there.

Invariants
    1. Every span that was begun is ended with its call, unless the instrument is removed before that.
    2. The values of a metric's attributes are bounded in number.

Knows OpenTelemetry's interface and what instruments hear. Does not know exporters, SDKs or workers.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._errors import ApplicationError, FolkError
from .._version import __version__
from ..abc import CallRecord
from ._names import Names
from ._population import CountsWorkers, Population

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["OpenTelemetry"]

WAITED = 0.001
"""Seconds; a wait for a worker that took longer has a span of its own. Shorter ones are in the call's attributes."""

# of the semantic conventions for RPC metrics, in seconds
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_SYSTEM, _METHOD, _ERROR = "rpc.system.name", "rpc.method", "error.type"


class OpenTelemetry(CountsWorkers):
    """Spans and metrics of the pools that it is given to: ``open_pool(..., instruments=[OpenTelemetry()])``.

    Each call is a span of kind CLIENT, a child of what is current where the call is made. If it waited for a worker for
    longer than a millisecond it has a child ``queue``. In workers of our SDK in which OpenTelemetry is installed it has
    one of kind SERVER, which is current there while the call runs: spans of your own become its children.

    Metrics: the histograms ``rpc.client.call.duration`` and ``folk.queue.duration``, and ``folk.workers``, which counts
    workers by their state.

    Args:
        tracer_provider: who records the spans; the global one by default. Workers have their own global one.
        meter_provider: who records the metrics; the global one by default.

    Raises:
        FolkError: opentelemetry-api is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
            from opentelemetry.baggage.propagation import W3CBaggagePropagator
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise FolkError(
                f"OpenTelemetry needs opentelemetry-api: {error}",
                hint='install it: pip install "trio-folk[tracing]"',
            ) from None
        self._api = trace
        self._propagators = (TraceContextTextMapPropagator(), W3CBaggagePropagator())
        self._tracer = trace.get_tracer("trio_folk", __version__, tracer_provider)
        meter = metrics.get_meter("trio_folk", __version__, meter_provider)
        self._duration = meter.create_histogram(
            "rpc.client.call.duration",
            "s",
            "Measures the duration of an outgoing Remote Procedure Call (RPC).",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._waits = meter.create_histogram(
            "folk.queue.duration",
            "s",
            "How long calls waited for a worker.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        workers = meter.create_up_down_counter("folk.workers", "{worker}", "Workers by their state.")
        self._population = Population(
            lambda pool, state, change: workers.add(change, {"folk.pool": pool, "folk.worker.state": state})
        )
        self._names = Names()
        self._spans: dict[CallRecord, Span] = {}

    def __repr__(self) -> str:
        return f"<OpenTelemetry: {len(self._spans)} calls>"

    # -- calls

    def call_queued(self, call: CallRecord) -> None:
        """Begin its span, and let it travel."""
        attributes: dict[str, Any] = {_SYSTEM: "folk", _METHOD: call.method, "folk.pool": call.pool}
        if call.items != 1:
            attributes["folk.items"] = call.items
        span = self._tracer.start_span(
            call.method or "call", kind=self._api.SpanKind.CLIENT, attributes=attributes
        )
        self._spans[call] = span
        around = self._api.set_span_in_context(span)
        for propagator in self._propagators:
            propagator.inject(call.context, around)
        if "traceparent" in call.context:
            call.context[_METHOD] = call.method or "call"

    def call_started(self, call: CallRecord) -> None:
        """Say how long it waited, if it did; and that it had to move."""
        span = self._spans.get(call)
        if span is None or not span.is_recording():
            return
        if call.attempts > 1:
            span.add_event("given to another worker", {"folk.worker": call.worker or ""})
        elif call.queue_seconds > WAITED:
            now = time.time_ns()
            around = self._api.set_span_in_context(span)
            began = now - int(call.queue_seconds * 1e9)
            self._tracer.start_span("queue", around, start_time=began).end(now)

    def call_finished(self, call: CallRecord, error: BaseException | None) -> None:
        """End its span, and count it."""
        span = self._spans.pop(call, None)
        if span is None:
            return
        attributes = {_SYSTEM: "folk", _METHOD: self._names.bounded(call.method)}
        if error is not None:
            attributes[_ERROR] = type(error).__qualname__
        if span.is_recording():
            self._describe_end(span, call, error)
        around = self._api.set_span_in_context(span)
        self._duration.record(
            (call.finished_at or call.queued_at) - call.queued_at, attributes, context=around
        )
        self._waits.record(call.queue_seconds, {"folk.pool": call.pool}, context=around)
        span.end()

    def _describe_end(self, span: Span, call: CallRecord, error: BaseException | None) -> None:
        told: dict[str, Any] = {"folk.outcome": call.end, "folk.queue.seconds": call.queue_seconds}
        if call.worker is not None:
            told["folk.worker"] = call.worker
        if call.failures:
            told["folk.items.failed"] = call.failures
        if error is not None:
            told[_ERROR] = type(error).__qualname__
        if isinstance(error, ApplicationError):
            told["rpc.response.status_code"] = str(error.code)
        span.set_attributes(told)
        if isinstance(error, Exception):  # a cancellation is its caller's wish, and no failure
            span.record_exception(error)
            span.set_status(self._api.StatusCode.ERROR, str(error).partition("\n")[0])

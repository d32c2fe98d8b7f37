"""Prometheus: Folk's metrics of calls and workers, by the names that its dashboards know.

Invariants
    1. The values of every label are bounded: methods in number, workers by their slot, whose number is fixed.
    2. What was raised for a call or a worker is lowered for it, once; unless the instrument is removed before that.

Folk's ``folk_worker_heartbeat_millis`` is not among them: our workers are watched by the kernel and send no heartbeats.

Knows prometheus_client and what instruments hear. Does not know who asks for the page.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from .._errors import FolkError
from ..abc import CallRecord, WorkerExit
from ._names import Names, slot_of
from ._population import CountsWorkers, Population, State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Prometheus"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Prometheus(CountsWorkers):
    """Metrics of the pools that it is given to: ``open_pool(..., instruments=[Prometheus()])``.

    One serves any number of pools, which are told apart by a label. `serve_telemetry` offers them to Prometheus; so
    does whatever else serves the registry.

    Args:
        registry: where the metrics are kept; one of its own by default, which holds nothing else.

    Raises:
        FolkError: prometheus-client is not installed.
        ValueError: the registry has metrics of these names already: give that instrument to both pools.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            import prometheus_client as client
        except ImportError as error:
            raise FolkError(
                f"these metrics need prometheus-client: {error}",
                hint='install it: pip install "trio-folk[metrics]"',
            ) from None
        self._client = client
        self.registry: CollectorRegistry = client.CollectorRegistry() if registry is None else registry
        counter = partial(client.Counter, registry=self.registry)
        gauge = partial(client.Gauge, registry=self.registry)
        histogram = partial(client.Histogram, registry=self.registry, buckets=_SECONDS)
        slot = ["pool", "worker_id"]
        self._calls: Counter = counter(
            "folk_request_dispatch_total", "Calls that have ended, by how.", ["pool", "method", "outcome"]
        )
        self._ran: Histogram = histogram(
            "folk_request_dispatch_duration_seconds", "How long workers had calls.", ["pool", "method"]
        )
        self._waited: Histogram = histogram(
            "folk_request_queue_duration_seconds", "How long calls waited for a worker.", ["pool"]
        )
        self._queue: Gauge = gauge("folk_request_queue_size", "Calls that wait for a worker.", ["pool"])
        self._workers: Gauge = gauge("folk_workers_total", "Workers, by their state.", ["pool", "state"])
        self._restarts: Counter = counter(
            "folk_worker_restarts_total",
            "Workers that ended, by whether the pool wanted that.",
            ["pool", "cause"],
        )
        self._requests: Counter = counter("folk_worker_requests_total", "Calls given to workers.", slot)
        self._inflight: Gauge = gauge(
            "folk_worker_inflight_seconds", "How long the oldest call on a worker has been there.", slot
        )
        self._reloads: Counter = counter(
            "folk_reloads_total", "Reloads, by how they ended.", ["pool", "outcome"]
        )
        self._population = Population(self._count)
        self._names = Names()
        self._places: dict[CallRecord, dict[CallRecord, float]] = {}  # those of its slot, with it among them
        self._running: dict[tuple[str, str], dict[CallRecord, float]] = {}

    def __repr__(self) -> str:
        return f"<Prometheus: {len(self._places)} calls on workers>"

    def page(self) -> tuple[str, bytes]:
        """The content type, and everything that the registry has, as Prometheus reads it."""
        return self._client.CONTENT_TYPE_LATEST, self._client.generate_latest(self.registry)

    # -- calls

    def call_queued(self, call: CallRecord) -> None:
        """It waits."""
        self._queue.labels(call.pool).inc()

    def call_started(self, call: CallRecord) -> None:
        """It waits no longer, or is somewhere else now."""
        if call.attempts == 1:
            self._queue.labels(call.pool).dec()
            self._waited.labels(call.pool).observe(call.queue_seconds)
        else:
            self._leave(call)
        place = call.pool, slot_of(call.worker or "")
        running = self._places[call] = self._running_at(place)
        running[call] = time.monotonic()
        self._requests.labels(*place).inc()

    def call_finished(self, call: CallRecord, error: BaseException | None) -> None:
        """Count it."""
        method = self._names.bounded(call.method)
        self._calls.labels(call.pool, method, call.end).inc()
        if call.attempts:
            self._leave(call)
            self._ran.labels(call.pool, method).observe(call.run_seconds)
        else:
            self._queue.labels(call.pool).dec()

    def _leave(self, call: CallRecord) -> None:
        running = self._places.pop(call, None)
        if running is not None:
            del running[call]

    def _running_at(self, place: tuple[str, str]) -> dict[CallRecord, float]:
        calls = self._running.get(place)
        if calls is None:
            calls = self._running[place] = {}
            self._inflight.labels(*place).set_function(partial(_oldest, calls))
        return calls

    # -- workers

    def _count(self, pool: str, state: State, change: int) -> None:
        self._workers.labels(pool, state).inc(change)

    def worker_ended(self, worker: str, reason: str, how: WorkerExit | None, planned: bool) -> None:
        """Count it no more; and, if it had ever been ready, as one that has to be replaced."""
        if self._population.move(worker, None) not in (None, "spawning"):
            self._restarts.labels(worker.rpartition("/")[0], "planned" if planned else "death").inc()

    def reload_finished(
        self, pool: str, generation: int, seconds: float, error: BaseException | None
    ) -> None:
        """Count it."""
        end = "succeeded" if error is None else "failed" if isinstance(error, Exception) else "cancelled"
        self._reloads.labels(pool, end).inc()


def _oldest(calls: dict[CallRecord, float]) -> float:
    """Seconds; asked when somebody reads the page, from whatever thread."""
    began = min(tuple(calls.values()), default=None)
    return 0.0 if began is None else time.monotonic() - began

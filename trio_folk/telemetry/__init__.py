"""What is to be seen of a pool from outside: traces, metrics, health, logs.

Everything here stands on what anybody may use: `trio_folk.abc.Instrument` and `WorkerPool.statistics`. The packages
behind it are optional; what needs one says so when it is made.

Knows pools by their public names, and the packages. Does not know calls, workers or the wire.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

from ._health import CheckResult, Health, HealthReport, HealthStatus
from ._logs import JsonLines
from ._opentelemetry import OpenTelemetry
from ._prometheus import Prometheus
from ._server import serve_telemetry

__all__ = [
    "CheckResult",
    "Health",
    "HealthReport",
    "HealthStatus",
    "JsonLines",
    "OpenTelemetry",
    "Prometheus",
    "serve_telemetry",
]

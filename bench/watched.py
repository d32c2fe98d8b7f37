"""trio_folk under the eyes of instruments: the same pool, watched by nobody or by one of several, in turn.

Knows the public names of trio_folk, and the SDK of OpenTelemetry. Does not know the measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from bench.folk import FolkExecute
from bench.interface import WATCHERS, Call

if TYPE_CHECKING:
    from trio_folk import WorkerPool
    from trio_folk.abc import Instrument

_PLAIN, _TRACED = "bench.folk_worker:worker", "bench.traced_worker:worker"


class FolkWatched(FolkExecute):
    """`WorkerPool.execute`, by who watches."""

    name = "trio_folk.watched"
    measures = frozenset({"telemetry"})

    def __init__(self) -> None:
        super().__init__()
        nobody, plain, prometheus, traced, traced_there = WATCHERS
        self._kinds: dict[str, tuple[str, Instrument | None]] = {
            nobody: (_PLAIN, None),
            plain: (_PLAIN, _plain()),
            prometheus: (_PLAIN, _prometheus()),
            traced: (_PLAIN, tracing := _tracing()),
            traced_there: (_TRACED, tracing),
        }
        self._pools: dict[str, WorkerPool] = {}
        self._pool: WorkerPool | None = None

    @contextmanager
    def watched(self, kind: str) -> Iterator[None]:
        """By an instrument of the pool."""
        worker, instrument = self._kinds[kind]
        self._pool = self._pools[worker]
        if instrument is not None:
            self._pool.add_instrument(instrument)
        yield
        if instrument is not None:
            self._pool.remove_instrument(instrument)

    @asynccontextmanager
    async def open(self, workers: int) -> AsyncIterator[Call]:
        """Two pools: in the second the workers record spans of their own. Calls go to that which is watched."""

        async def call(fn: Callable[..., Any], payload: bytes) -> Any:
            assert self._pool is not None, "calls are made while it is said who watches"
            return await self._pool.execute("give_back", payload)

        async with (
            self._open_pool(self._runtime.python(_PLAIN), slots=workers) as plain,
            self._open_pool(self._runtime.python(_TRACED), slots=workers) as traced,
        ):
            self._pools = {_PLAIN: plain, _TRACED: traced}
            yield call


def _plain() -> Instrument:
    """One that hears everything of calls, and does nothing with it."""
    from trio_folk.abc import CallRecord, Instrument

    class Plain(Instrument):
        def call_queued(self, call: CallRecord) -> None: ...

        def call_started(self, call: CallRecord) -> None: ...

        def call_finished(self, call: CallRecord, error: BaseException | None) -> None: ...

    return Plain()


def _prometheus() -> Instrument:
    from trio_folk.telemetry import Prometheus

    return Prometheus()


def _tracing() -> Instrument:
    from bench.traced_worker import to_nowhere
    from trio_folk.telemetry import OpenTelemetry

    return OpenTelemetry(tracer_provider=to_nowhere())

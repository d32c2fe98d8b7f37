"""Traces: one from the caller through the queue into the worker and back, and none lost when a worker is replaced.

``TRIO_FOLK_RECYCLES=1000`` is the long run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from telemetry_functions import double, hexes

from trio_folk import (
    ApplicationError,
    FolkError,
    ForkRuntime,
    PipeRuntime,
    PoolConfig,
    TaskRuntime,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Runtime
from trio_folk.telemetry import OpenTelemetry
from trio_folk.worker import Worker, current_call

HERE = Path(__file__).parent
ENV = {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
RECYCLES = int(os.environ.get("TRIO_FOLK_RECYCLES", "12"))
BOUND = 60 + RECYCLES


@attrs.frozen
class Seen:
    """What this process has recorded."""

    instrument: OpenTelemetry
    exporter: InMemorySpanExporter
    tracer: Tracer

    def span(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        (span,) = (each for each in self.exporter.get_finished_spans() if each.name == name)
        return span

    def hexes(self, name: str) -> dict[str, Any]:
        return hexes(self.span(name))


@pytest.fixture
def seen() -> Iterator[Seen]:
    """An instrument with a provider of its own: the global one of this process stays as it is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Seen(OpenTelemetry(tracer_provider=provider), exporter, provider.get_tracer("test"))
    provider.shutdown()


def python(target: str) -> PipeRuntime:
    return PipeRuntime.python(target, env=ENV)


def named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (span,) = (each for each in spans if each["name"] == name)
    return span


async def test_one_trace_from_the_caller_through_the_queue_into_the_worker(seen: Seen) -> None:
    """The caller's span, the call's, its wait, the worker's, and the user's own in the worker: a chain."""
    with trio.fail_after(BOUND):
        runtime, slots = python("telemetry_jobs:worker"), 1
        async with open_pool(runtime, slots=slots, name="p", instruments=[seen.instrument]) as pool:
            with seen.tracer.start_as_current_span("caller"):
                async with trio.open_nursery() as nursery, pool.lease():
                    nursery.start_soon(pool.execute, "work", ["x"])
                    while not pool.statistics().queued:
                        await trio.sleep(0.001)
                    await trio.sleep(0.05)
            # before the next call: on a busy machine that may have a span for its wait, too
            caller, call, queue = (seen.hexes(name) for name in ("caller", "work", "queue"))
            waited = seen.span("queue")
            there = await pool.execute("spans")
    inside, own = named(there, "work"), named(there, "own x")
    assert {each["trace"] for each in (caller, call, queue, inside, own)} == {caller["trace"]}
    assert [call["parent"], queue["parent"], inside["parent"]] == [caller["id"], call["id"], call["id"]]
    assert own["parent"] == inside["id"]
    assert (call["kind"], inside["kind"]) == ("CLIENT", "SERVER")
    told = seen.span("work").attributes or {}
    assert (told["folk.worker"], told["folk.pool"], told["rpc.method"]) == ("p/0.1", "p", "work")
    assert told["folk.outcome"] == "succeeded"
    assert 0.04 < ((waited.end_time or 0) - (waited.start_time or 0)) / 1e9 < BOUND


@pytest.mark.parametrize("method", ["work", "work_in_thread"])
async def test_calls_side_by_side_in_a_worker_keep_their_traces(seen: Seen, method: str) -> None:
    """Of async methods and of threads: each span is the child of its own call's."""
    with trio.fail_after(BOUND):
        runtime = python("telemetry_async_jobs:worker")
        async with open_pool(runtime, slots=1, instruments=[seen.instrument]) as pool:
            for name in "ab":  # one trace each, for there is no caller's span
                await pool.execute(method, [f"warm {name}"])
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(pool.execute, method, [name])
            there = await pool.execute("spans")
    by_id = {each["id"]: each for each in there}
    for name in "abc":
        own = named(there, f"own {name}")
        inside = by_id[own["parent"]]
        assert inside["trace"] == own["trace"]
        assert (inside["name"], inside["kind"]) == (method, "SERVER")
    assert len({named(there, f"own {name}")["trace"] for name in "abc"}) == 3


async def test_functions_maps_streams_and_leases_are_traced(seen: Seen) -> None:
    """Whatever the way in, what the user records in the worker belongs to the call."""
    with trio.fail_after(BOUND):
        runtime = python("telemetry_jobs:worker")
        async with open_pool(runtime, slots=1, instruments=[seen.instrument]) as pool:
            with seen.tracer.start_as_current_span("caller"):
                assert await pool.run_sync(double, 1) == 2
                async with pool.map(double, [2, 3], chunk=2) as results:
                    assert [each async for each in results] == [4, 6]
                async with pool.stream("rows", [2]) as items:
                    assert [each async for each in items] == [0, 1]
                async with pool.lease() as lease:
                    await lease.execute("work", ["leased"])
            there = await pool.execute("spans")
    trace_id = seen.hexes("caller")["trace"]
    own = [each for each in there if each["name"].startswith("own")]
    inside = {each["id"]: each["name"] for each in there if each["kind"] == "SERVER"}
    assert {each["trace"] for each in own} == {trace_id}
    names = [inside[each["parent"]] for each in own]
    assert names == ["double", "double", "double", "rows", "rows", "work"]


async def test_baggage_travels(seen: Seen) -> None:
    """What the caller says of itself is there where the work is done."""
    token = context.attach(baggage.set_baggage("customer", "Emma"))
    try:
        with trio.fail_after(BOUND):
            runtime = python("telemetry_jobs:worker")
            async with open_pool(runtime, slots=1, instruments=[seen.instrument]) as pool:
                assert await pool.execute("work", ["x"]) == "Emma"
    finally:
        context.detach(token)


async def test_a_failure_is_on_the_span_and_a_cancellation_is_none(
    seen: Seen, autojump_clock: trio.testing.MockClock
) -> None:
    """With the exception and the protocol's code; who cancels has failed at nothing."""
    worker = Worker()

    @worker.method
    async def fail() -> None:
        raise ValueError("it broke")

    @worker.method
    async def sleep() -> None:
        await trio.sleep(60)

    async with open_pool(TaskRuntime(worker), slots=1, instruments=[seen.instrument]) as pool:
        with pytest.raises(ApplicationError):
            await pool.execute("fail")
        with trio.move_on_after(1):
            await pool.execute("sleep")
    failed, cancelled = seen.span("fail"), seen.span("sleep")
    assert failed.status.status_code is StatusCode.ERROR
    assert "it broke" in (failed.status.description or "")
    assert [event.name for event in failed.events] == ["exception"]
    assert (failed.attributes or {})["rpc.response.status_code"] == "-32603"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert (cancelled.attributes or {})["folk.outcome"] == "cancelled"
    assert failed.kind is SpanKind.CLIENT


async def test_a_worker_without_a_provider_passes_the_trace_on(seen: Seen) -> None:
    """Nothing is recorded there, and a call that comes with nonsense is run all the same."""
    worker = Worker()

    @worker.method
    def told() -> Any:
        return dict(current_call().context)

    async with open_pool(TaskRuntime(worker), slots=1, instruments=[seen.instrument]) as pool:
        there = await pool.execute("told")
    call = seen.hexes("told")
    assert there["traceparent"].startswith(f"00-{call['trace']}-{call['id']}-")
    assert there["rpc.method"] == "told"


@pytest.mark.parametrize(
    "nonsense", ["", "00-zz", 7, None, ["00"], "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
async def test_nonsense_for_a_trace_harms_no_call(nonsense: Any) -> None:
    """The worker believes nothing: the call runs, without a trace."""
    from trio_folk.abc import CallRecord, Instrument

    class Liar(Instrument):
        def call_queued(self, call: CallRecord) -> None:
            call.context.update(traceparent=nonsense, baggage=nonsense, tracestate=nonsense)

    async with open_pool(TaskRuntime(Worker()), slots=1, instruments=[Liar()]) as pool:
        assert await pool.execute("echo", 1) == 1


async def test_a_worker_without_opentelemetry_runs_traced_calls(
    seen: Seen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller's end of the trace is there; that it is missing is found out once, and not for each call."""
    (tmp_path / "opentelemetry.py").write_text("print('tried')\nraise ImportError")
    (tmp_path / "plain_jobs.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from trio_folk.worker import Worker\nworker = Worker()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(HERE.parents[1])])
    runtime = PipeRuntime.python("plain_jobs:worker", env={"PYTHONPATH": path})
    with trio.fail_after(BOUND), caplog.at_level("INFO", "trio_folk.worker"):
        async with open_pool(runtime, slots=1, instruments=[seen.instrument]) as pool:
            assert [await pool.execute("echo", each) for each in range(3)] == [0, 1, 2]
    assert len(seen.exporter.get_finished_spans()) == 3
    assert [record.message for record in caplog.records] == ["[pool/0.1 stdout] tried"]


def batches(kind: str, spans: Path) -> Runtime:
    env = {**ENV, "SPANS": str(spans)}
    if kind == "fork":
        return ForkRuntime("telemetry_batch_jobs:worker", env=env)
    return PipeRuntime.python("telemetry_batch_jobs:worker", env=env)


async def run_all(pool: WorkerPool, calls: int) -> None:
    async with trio.open_nursery() as nursery:
        limit = trio.CapacityLimiter(4)

        async def call(number: int) -> None:
            async with limit:
                assert await pool.execute("work", [number]) == number

        for number in range(calls):
            nursery.start_soon(call, number)


@pytest.mark.timeout(2 * BOUND)
@pytest.mark.parametrize("kind", ["fork", "pipe"])
async def test_recycling_loses_no_span(seen: Seen, kind: str, tmp_path: Path) -> None:
    """Each worker has one call and is replaced; all spans of all of them arrive, though no batch ever came due."""
    calls = RECYCLES if kind == "fork" else -(-RECYCLES // 4)
    spans = tmp_path / "spans"
    config = PoolConfig(slots=2, max_jobs=1, terminate_grace=30, drain_timeout=BOUND)
    with trio.fail_after(BOUND):
        runtime = batches(kind, spans)
        async with open_pool(runtime, config=config, instruments=[seen.instrument]) as pool:
            await run_all(pool, calls)
            assert pool.statistics().recycled >= calls - 2
    sent = spans.read_text().splitlines()
    assert sorted(line.split()[1] for line in sent if line.startswith("own")) == sorted(
        map(str, range(calls))
    )
    # the first call sets the provider up, so its span of the call itself is not recorded
    parents = {span.context.span_id for span in seen.exporter.get_finished_spans() if span.context}
    assert {int(line.split()[2]) for line in sent if line.startswith("own")} <= parents


async def test_a_broken_provider_harms_neither_calls_nor_the_workers_end(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises when a span begins, when one ends, and at the flush: each is told on stderr, and that is all."""
    with trio.fail_after(BOUND):
        runtime = python("telemetry_broken_jobs:worker")
        async with open_pool(runtime, slots=1, instruments=[seen.instrument]) as pool:
            with pool.events() as events:
                assert await pool.execute("beginning") == "began"
                assert await pool.execute("end") == "ended"
                assert (await pool.execute("echo", "once more")) == "once more"
                await pool.reload()
                ended = await wait_for_end(events)
    assert (ended.exit.code, ended.planned) == (0, True)
    for where in ("beginning", "end", "flush"):
        assert f"ZeroDivisionError: at the {where}" in caplog.text


async def wait_for_end(events: Any) -> Any:
    async for event in events:
        if event.kind == "ended":
            return event
    raise AssertionError("no worker has ended")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, when it is made, and not when the room is imported."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(FolkError, match=r"opentelemetry-api.*\n.*trio-folk\[tracing\]"):
        OpenTelemetry()

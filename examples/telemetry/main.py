"""The program: counts words, with traces, metrics, probes and logs; ``--serve`` goes on until Ctrl-C."""

import logging
import sys
from functools import partial

import trio
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import trio_folk
from trio_folk.telemetry import Health, JsonLines, OpenTelemetry, Prometheus, serve_telemetry


def line(span):
    return f"{span.context.trace_id:032x} program: {span.name}\n"


def set_up():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    provider = TracerProvider(resource=Resource({"service.name": "words"}))
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    trace.set_tracer_provider(provider)
    return trace.get_tracer(__name__)


async def main(paths, serve):
    tracer, metrics = set_up(), Prometheus()
    runtime = trio_folk.PipeRuntime.python("examples.telemetry.jobs:worker")
    watched = [metrics, OpenTelemetry()]
    async with trio.open_nursery() as nursery:
        async with trio_folk.open_pool(runtime, slots=2, name="words", instruments=watched) as pool:
            pages = partial(serve_telemetry, metrics=metrics, health=Health(pool))
            host, port = await nursery.start(pages)
            print(f"http://{host}:{port}/metrics, /healthz, /readyz")
            with tracer.start_as_current_span("count all"):
                for path in paths:
                    print(path, await pool.execute("words", [path]))
            if serve:
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, [path for path in sys.argv[1:] if path != "--serve"], "--serve" in sys.argv)

"""The worker: counts the words of a file, and says by spans of its own what it spends its time with."""

import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from trio_folk.worker import Worker


def line(span):
    return f"{span.context.trace_id:032x} worker: {span.name}\n"


# Put your OTLP exporter in the place of this one. Standard error goes to the parent's log, line by line.
provider = TracerProvider(resource=Resource({"service.name": "words-worker"}))
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=sys.stderr, formatter=line)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer(__name__)
worker = Worker()


@worker.method
def words(path):
    with tracer.start_as_current_span("read"):
        with open(path) as file:
            text = file.read()
    with tracer.start_as_current_span("count"):
        return len(text.split())

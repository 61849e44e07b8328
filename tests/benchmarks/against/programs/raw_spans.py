"""Microseconds of processor time for the spans that `observed_tasks` makes of a task, by the SDK alone."""

import gc
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

TASKS = 10_000
NAMES = {"taskflow.task.name": "noop", "taskflow.task.id": "01234567-89ab-4def-8123-456789abcdef"}


class NullExporter(SpanExporter):
    """Takes the spans and forgets them."""

    def export(self, spans: object) -> SpanExportResult:
        """Nothing."""
        return SpanExportResult.SUCCESS


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(NullExporter(), max_queue_size=100_000))
tracer = provider.get_tracer("benchmark")


def spans(count: int) -> None:
    """Those of so many tasks: one of the enqueueing, one of the attempt with an event, which is current."""
    for _ in range(count):
        enqueue = tracer.start_span("enqueue noop", kind=SpanKind.PRODUCER, attributes=NAMES)
        enqueue.end()
        context = trace.set_span_in_context(enqueue)
        attributes = {**NAMES, "code.function.name": "tests.noop", "taskflow.queue_duration": 0.001}
        with tracer.start_as_current_span("run noop", context, SpanKind.CONSUMER, attributes) as run:
            run.add_event("sent", {"log.severity": "info"})
            run.set_attributes({"taskflow.task.status": "success", "taskflow.task.attempts": 1})
    provider.force_flush()


spans(1_000)
gc.collect()
gc.freeze()
began = time.process_time()
spans(TASKS)
print(1e6 * (time.process_time() - began) / TASKS)
provider.shutdown()

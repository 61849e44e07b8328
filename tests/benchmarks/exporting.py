"""Where the benchmarks' spans go: to an exporter that takes them and forgets them."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class NullExporter(SpanExporter):
    """Counts the spans and forgets them: an exporter's own work is the same for everybody.

    Attributes:
        spans: how many there were.
    """

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def make_provider(exporter: NullExporter, *, queue: int) -> TracerProvider:
    """A provider as in production, whose queue of so many spans is long enough to drop none."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=queue))
    return provider

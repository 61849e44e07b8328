"""The SDK's batch processor with a ``force_flush`` that returns in time and tells whether spans arrived."""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import export

from taskflow.observers.otel.flush import in_daemon_thread
from taskflow.observers.otlp.exporter import OTLPSpanExporter

FLUSH_TIMEOUT = 30_000
"""Milliseconds, as the SDK's own methods have it."""


class BatchSpanProcessor(export.BatchSpanProcessor):
    """Gathers spans for an `OTLPSpanExporter` and exports them in the background, as the SDK's does.

    It is a subclass of ``opentelemetry.sdk.trace.export.BatchSpanProcessor``, with its arguments and its
    environment variables. Only `force_flush` is different: the SDK's ignores its time-out, and returns
    ``True`` for spans that were lost.

    Args:
        span_exporter: where the spans go.
        max_queue_size: finished spans that may wait; beyond that the oldest are dropped. 2,048 by default.
        schedule_delay_millis: milliseconds between two exports.
        max_export_batch_size: spans of one request, 512 by default.
        export_timeout_millis: not used by the SDK; the exporter has a ``timeout``.
        meter_provider: for the processor's own metrics.
    """

    def __init__(
        self,
        span_exporter: OTLPSpanExporter,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        super().__init__(
            span_exporter,
            max_queue_size,
            schedule_delay_millis,
            max_export_batch_size,
            export_timeout_millis,
            meter_provider=meter_provider,
        )
        self._counting = span_exporter

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export all spans that have ended; returns whether all of them arrived within the time.

        Args:
            timeout_millis: how long to wait; 30,000 if ``None``. An export that takes longer goes on.
        """
        lost = self._counting.lost
        flushing = in_daemon_thread(super().force_flush)
        try:
            flushed = flushing.result((FLUSH_TIMEOUT if timeout_millis is None else timeout_millis) / 1000)
        except TimeoutError:
            return False
        return flushed and self._counting.lost == lost

"""The ids of the current OpenTelemetry span, for log lines, records and exemplars."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

__all__ = ["SpanIds", "current_span_ids"]

SAMPLED = TraceFlags.SAMPLED


class SpanIds(NamedTuple):
    """A span's ids in lowercase hex, as in W3C Trace Context, and whether its trace is sampled."""

    trace_id: str
    span_id: str
    sampled: bool


class _CurrentSpanIds:
    """Returns the ids of the current span. Those of the last context are cached, because all events of
    an attempt have the same context.
    """

    def __init__(self) -> None:
        self._latest: tuple[Context | None, SpanIds | None] = (None, None)

    def __call__(self) -> SpanIds | None:
        context = get_current()
        if not context:
            return None  # no tracing
        known, ids = self._latest
        if context is not known:  # contexts are immutable
            ids = _ids(get_current_span(context).get_span_context())
            self._latest = (context, ids)  # one assignment: threads share this
        return ids


def _ids(span: SpanContext) -> SpanIds | None:
    trace_id, span_id, _, flags, _, valid = span
    if not valid:
        return None
    # Twice as fast as a format, for every task.
    return SpanIds(trace_id.to_bytes(16).hex(), span_id.to_bytes(8).hex(), bool(flags & SAMPLED))


current_span_ids = _CurrentSpanIds()
"""Call it: the ids of the current span, or ``None`` without a valid one."""

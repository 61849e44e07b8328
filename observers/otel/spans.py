"""Where the observer gets its spans from: the tracer, or something that makes the same ones faster."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from taskflow.observers.otel.attributes import Attributes

__all__ = ["Spans", "within"]


class Spans:
    """Spans of one tracer, made by its own `start_span`.

    Args:
        tracer: anybody's.
    """

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: SpanContext,
        context: Context,
        links: Sequence[Link] = (),
    ) -> Span:
        """Start a span.

        Args:
            name, kind, links: as in the SDK.
            attributes: the span may keep this very dictionary.
            parent: an invalid one starts a trace.
            context: what else a sampler or a processor sees, such as baggage; and the parent itself, if it
                is a span of this context.
        """
        return self.tracer.start_span(name, within(parent, context), kind, attributes, links)


def within(parent: SpanContext, context: Context) -> Context:
    """``context`` with ``parent`` as its span."""
    if get_current_span(context).get_span_context() == parent:
        return context
    return set_span_in_context(NonRecordingSpan(parent), context)

"""Whether lean spans are like the installed SDK's: both are made once, and everything is done to both."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SynchronousMultiSpanProcessor,
    Tracer,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, SpanContext, SpanKind, StatusCode

from taskflow.observers.otel.attributes import CleanAttributes
from taskflow.observers.otel.lean import TRACER_FIELDS, LeanSpan, LeanSpans
from taskflow.observers.otel.spans import Spans

__all__ = ["difference"]

KNOWN = {f"{name} of a tracer" for name in TRACER_FIELDS}

Make = Callable[[Tracer], Spans]

LIMITS = tuple(inspect.signature(SpanLimits).parameters)
"""All are left unset: the environment may have values for them, with which no span is lean."""


def difference() -> str | None:
    """What is different, in words; ``None`` if nothing is. Never raises."""
    try:
        return _compared()
    except Exception as error:  # whatever the SDK's private parts have become
        return f"{type(error).__name__}: {error}"


def _compared() -> str | None:
    real, lean = _Rehearsal(Spans), _Rehearsal(LeanSpans)
    lean.fields |= vars(LeanSpan).keys() & real.fields  # those that most spans share
    if unknown := (real.fields ^ lean.fields) | (real.tracer_fields ^ KNOWN):
        return f"fields {', '.join(sorted(unknown))}"
    for expected, made in zip(real.finished, lean.finished, strict=True):
        if expected != made:
            return f"{expected} became {made}"
    return None


class _Rehearsal:
    """Two spans of a tracer that nobody else has: one as Taskflow uses it, one as users do.

    Attributes:
        tracer_fields: those of the tracer.
        fields: those of a new span, and of an event.
        finished: what an exporter sees, without times.
    """

    def __init__(self, make: Make) -> None:
        exporter = _Exporter()
        spans = make(_tracer(exporter))
        parent = self._start(spans, INVALID_SPAN_CONTEXT)
        self.tracer_fields = {f"{name} of a tracer" for name in vars(spans.tracer)}
        self.fields = set(vars(parent))
        _use(self._start(spans, parent.get_span_context()))
        parent.set_attributes(CleanAttributes(outcome="success"))
        parent.add_event("ours", CleanAttributes(severity="info"))
        self.fields.update(f"{name} of an event" for event in _events(parent) for name in vars(event))
        parent.end()
        self.finished = [_plain(span) for span in exporter.spans]

    @staticmethod
    def _start(spans: Spans, parent: SpanContext) -> Span:
        return spans.start("span", SpanKind.CONSUMER, {"a": 1}, parent, Context())


def _tracer(exporter: SpanExporter) -> Tracer:
    nobody = NoOpMeterProvider()  # or these spans would be counted as the application's
    processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]  # it has no types
    processors.add_span_processor(SimpleSpanProcessor(exporter, meter_provider=nobody))
    return Tracer(
        sampler=ALWAYS_ON,
        resource=Resource.get_empty(),
        span_processor=processors,
        id_generator=_Ids(),
        instrumentation_info=None,  # type: ignore[arg-type]  # deprecated: making one warns
        span_limits=SpanLimits(**dict.fromkeys(LIMITS, SpanLimits.UNSET)),
        instrumentation_scope=InstrumentationScope("rehearsal", "1"),
        meter_provider=nobody,
    )


def _use(span: Span) -> None:
    """Everything that users may do with the current span."""
    span.add_event("ours", CleanAttributes(severity="info"))
    span.set_attribute("one", 1)
    span.set_attributes({"two": [1, 2]})
    span.add_event("theirs", {"three": 3})
    span.add_link(span.get_span_context(), {"four": 4})
    span.record_exception(ValueError("five"))
    span.update_name("six")
    span.set_status(StatusCode.ERROR, "seven")
    span.end()


def _events(span: Span) -> Any:
    assert isinstance(span, ReadableSpan)
    return span.events


def _plain(span: ReadableSpan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(span.to_json())
    for timed in (found, *found["events"]):
        for name in ("start_time", "end_time", "timestamp"):
            timed.pop(name, None)
    context = span.context
    assert context is not None
    return found | {"scope": str(span.instrumentation_scope), "context": list(map(str, context))}


class _Ids(IdGenerator):
    def __init__(self) -> None:
        self._latest = 0

    def generate_span_id(self) -> int:
        self._latest += 1
        return self._latest

    def generate_trace_id(self) -> int:
        return 1


class _Exporter(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS
